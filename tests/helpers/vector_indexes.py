"""Indexes of made vectors, for tests that need no image."""

from functools import partial

import numpy as np

from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.testing import clustered_embeddings, example_fingerprint

DIM = 12
LABELS = ["a"] * 60 + ["b"] * 50 + ["c"] * 40


def write_clusters(path, labels=LABELS, seed=0, spread=0.6):
    """Write an index whose labels are clusters of vectors; return its path."""
    return write_vectors(path, labels, clustered_embeddings(np.random.default_rng(seed), labels, DIM, spread))


def object_embeddings(rng, labels=3, objects=8, images=4, dim=48, noise=0.2):
    """Return embeddings (n, dim), labels and names of objects: each object is far from the others of its label."""
    names = [(label, thing) for label in range(labels) for thing in range(objects) for _ in range(images)]
    centers = rng.normal(size=(labels, objects, dim)) + 0.2 * rng.normal(size=(labels, 1, dim))
    rows = np.array([centers[name] for name in names]) + noise * rng.normal(size=(len(names), dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), ["abcdefgh"[label] for label, _ in names], [str(thing) for _, thing in names]


def write_objects(path, seed=0, **sizes):
    """Write an index with several images of each object, named `label/object_number.jpg`; return its path."""
    vectors, labels, objects = object_embeddings(np.random.default_rng(seed), **sizes)
    names = [f"{label}/{thing}_{number}.jpg" for number, (label, thing) in enumerate(zip(labels, objects))]
    return write_vectors(path, labels, vectors, paths=names)


NESTED = {"shirt": ("tops",), "blouse": ("tops",), "skirt": ("bottoms",), "shorts": ("bottoms",), "hat": ()}


def nested_embeddings(seed=0, count=60, part=0, above=None, apart=0.15, noise=0.45):
    """Return embeddings (n, 12) and labels: those of one coarse label are close to each other, and far from others.

    With the same seed every `part` has other images of the same labels.
    """
    above, draw, rng = above or NESTED, np.random.default_rng(seed), np.random.default_rng((seed, part))
    center = {name: draw.normal(size=DIM) for name in sorted({step for steps in above.values() for step in steps})}
    rows, labels = [], []
    for label, steps in sorted(above.items()):
        mean = sum((center[step] for step in steps), np.zeros(DIM)) if steps else draw.normal(size=DIM)
        mean = mean + apart * draw.normal(size=DIM)
        rows.append(mean + noise * rng.normal(size=(count, DIM)))
        labels += [label] * count
    vectors = np.concatenate(rows)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def write_nested(path, seed=0, dataset="dataset", count=60):
    """Write an index of such embeddings with ids `coarse/label/number.jpg`, and return its path."""
    vectors, labels = nested_embeddings(seed, count)
    paths = ["/".join((*NESTED[label], label, f"{number:03}.jpg")) for number, label in enumerate(labels)]
    return write_vectors(path, labels, vectors, paths=paths, dataset=dataset)


def write_vectors(path, labels, vectors, hashes=None, paths=None, dataset="dataset"):
    """Write an index of normalized vectors (n, dim) and return its path; contents differ unless `hashes` are given."""
    paths = paths or [f"{label}/{number}.jpg" for number, label in enumerate(labels)]
    hashes = hashes or [f"{number:064x}" for number in range(len(labels))]
    manifest = Manifest(
        (EncoderEntry(example_fingerprint(vectors.shape[1]), "identity"),), len(labels), dataset, "2026-01-01", "0"
    )
    write_index(path, IndexContents(manifest, list(labels), paths, hashes, (EncoderVectors({}, lambda: [vectors]),)))
    return path


def write_encoders(path, labels, each, hashes=None, dtype=np.float32, transforms=None):
    """Write an index with vectors (n, dim) of several encoders and return its path; ids ascend."""
    entries = tuple(
        EncoderEntry(
            example_fingerprint(vectors.shape[1], f"{place}"), transforms[place].name if transforms else "identity"
        )
        for place, vectors in enumerate(each)
    )
    parts = tuple(
        EncoderVectors(transforms[place].to_arrays() if transforms else {}, partial(_blocks, vectors))
        for place, vectors in enumerate(each)
    )
    count = len(labels)
    paths = [f"p/{number:03}.jpg" for number in range(count)]
    hashes = hashes or [f"{number:064x}" for number in range(count)]
    manifest = Manifest(entries, count, "dataset", "2026-01-01", "0")
    write_index(path, IndexContents(manifest, list(labels), paths, hashes, parts, dtype))
    return path


def _blocks(vectors):
    half = len(vectors) // 2
    return [vectors[:half], vectors[half:]]
