"""Unlabeled images that are vectors, of clusters, with an index in memory."""

import numpy as np

from lmm_classifier.config import PipelineConfig
from lmm_classifier.discovery.unlabeled import UnlabeledImages
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.testing import clustered_embeddings

LABELS, UNKNOWN, DIM = ("a", "b", "c"), ("d", "e"), 24


def clusters(sizes, seed=0, spread=0.5):
    """Vectors (n, DIM) and labels of clusters; the direction of a label is always the same."""
    names = [*LABELS, *UNKNOWN]
    labels = [name for name in names for _ in range(sizes.get(name, 0))]
    rng = np.random.default_rng(99)
    centers = clustered_embeddings(rng, names, DIM, 0.0)
    noise = np.random.default_rng(seed).normal(size=(len(labels), DIM)) / DIM**0.5
    rows = centers[[names.index(label) for label in labels]].reshape(-1, DIM) + spread * noise
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), labels


def classifier_of(sizes=None):
    """A classifier over an index in memory of 20 vectors of each known label."""
    vectors, labels = clusters(sizes or dict.fromkeys(LABELS, 20))
    return HybridClassifier(PipelineConfig.preset("vectors"), index=Index.from_vectors(vectors, labels))


def images_of(classifier, sizes, seed=1):
    """Unlabeled images, and their true labels."""
    vectors, labels = clusters(sizes, seed)
    return UnlabeledImages.of_vectors([f"{row:05}" for row in range(len(labels))], vectors, classifier), labels
