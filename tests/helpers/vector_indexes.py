"""Indexes of made vectors, for tests that need no image."""

import numpy as np

from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.testing import clustered_embeddings, example_fingerprint

DIM = 12
LABELS = ["a"] * 60 + ["b"] * 50 + ["c"] * 40


def write_clusters(path, labels=LABELS, seed=0, spread=0.6):
    """Write an index whose labels are clusters of vectors; return its path."""
    return write_vectors(path, labels, clustered_embeddings(np.random.default_rng(seed), labels, DIM, spread))


def write_vectors(path, labels, vectors, hashes=None):
    """Write an index of normalized vectors (n, dim) and return its path; contents differ unless `hashes` are given."""
    paths = [f"{label}/{number}.jpg" for number, label in enumerate(labels)]
    hashes = hashes or [f"{number:064x}" for number in range(len(labels))]
    manifest = Manifest(example_fingerprint(vectors.shape[1]), "identity", len(labels), "dataset", "2026-01-01", "0")
    write_index(path, IndexContents(manifest, list(labels), paths, hashes, {}, lambda: [vectors]))
    return path
