"""The same drawn rows as an index in memory, and as tables of Lance."""

from hashlib import sha256

import numpy as np

from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import clustered_embeddings, example_fingerprint


def drawn_index(seed, rows, labels, dim, copies=0):
    """Return an index of drawn vectors; `copies` rows are once more there, under other ids."""
    rng = np.random.default_rng(seed)
    names = [f"label {rng.integers(labels):03}" for _ in range(rows)]
    vectors = clustered_embeddings(rng, names, dim)
    again = rng.choice(rows, copies, replace=False)
    ids = [f"{name}/{number}.jpg" for number, name in enumerate(names)]
    return Index.from_vectors(
        np.concatenate([vectors, vectors[again]]),
        names + [names[row] for row in again],
        ids + [f"copies/{row}.jpg" for row in again],
        example_fingerprint(dim),
    )


def chunk(prefix, count, label="cat", dim=8, bad=0):
    """Return a chunk of a table: `count` good files and then bad ones; equal names have equal contents."""
    import pyarrow as pa

    rng = np.random.default_rng(int.from_bytes(sha256(prefix.encode()).digest()[:4]))
    vectors = rng.normal(size=(count + bad, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    is_bad = np.arange(count + bad) >= count
    contents = [sha256(f"{prefix}{row}".encode()).digest() for row in range(count + bad)]
    texts = [None if row < count else "corrupt" for row in range(count + bad)]
    return pa.table(
        {
            "content": pa.array(contents, pa.binary(32)),
            "path": [f"{label}/{prefix}{row}.jpg" for row in range(count + bad)],
            "label": [label] * (count + bad),
            "kind": pa.array(texts, pa.string()),
            "reason": pa.array(texts, pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), dim, mask=pa.array(is_bad)),
        }
    )


def manifest_of(dim=8, revision="1"):
    """Return the manifest of a table for vectors of one encoder."""
    from lmm_classifier.index.manifest import EncoderEntry, Manifest

    return Manifest((EncoderEntry(example_fingerprint(dim, revision), "identity"),), 1, "dataset", "2026-01-01", "0")


def stored_rows(url):
    """Return label name, content, id of one image and vector bytes of each row of a finished table."""
    from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore

    store = LanceRowStore.open(url)
    return [
        (store.label_names[label], content, path, vector.tobytes())
        for block in store.blocks(("vectors", "contents", "paths"))
        for label, content, path, vector in zip(block.label_ids, block.contents, block.paths, block.vectors)
    ]
