"""Indexes of given vectors, for tests."""

from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import example_fingerprint


def index_of(path, vectors, labels, hashes=None, root="dataset"):
    """Write an index of normalized vectors (n, d) to `path` and open it; the files are `<root>/<label>/<row>.jpg`."""
    hashes = hashes or [f"{number:064x}" for number in range(len(labels))]
    paths = [f"{label}/{number}.jpg" for number, label in enumerate(labels)]
    manifest = Manifest(
        (EncoderEntry(example_fingerprint(vectors.shape[1]), "identity"),), len(labels), str(root), "2026-01-01", "0"
    )
    write_index(path, IndexContents(manifest, list(labels), paths, hashes, (EncoderVectors({}, lambda: [vectors]),)))
    return Index.open(path)
