"""Datasets of encoder vectors, their splits, and what this program and its rivals predict on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import mobilenet
from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.testing import example_fingerprint

Strings = NDArray[np.str_]


@dataclass(frozen=True)
class LabeledVectors:
    """Encoder vectors (N, d) and labels (N,) of a folder."""

    vectors: Float32Array
    labels: Strings

    def at(self, rows: Any) -> LabeledVectors:
        """Return some of the rows."""
        return LabeledVectors(self.vectors[rows], self.labels[rows])


@dataclass(frozen=True)
class Task:
    """A dataset, and new images of the same labels."""

    dataset: LabeledVectors
    new: LabeledVectors


@dataclass(frozen=True)
class Predictions:
    """What retrieval predicts for n new images."""

    confidence: Float64Array  # (n,)
    correct: BoolArray  # (n,)
    familiarity: Float64Array  # (n,)
    similarity: Float64Array  # (n,) cosine of the nearest example
    retriever: Retriever


@dataclass(frozen=True)
class Baselines:
    """What kNN-5 and a trained logistic regression predict for n new images."""

    knn_confidence: Float64Array  # (n,)
    knn_correct: BoolArray  # (n,)
    trained_accuracy: float  # 0 to 1

    @property
    def knn_accuracy(self) -> float:
        """Return the accuracy of kNN-5, 0 to 1."""
        return float(self.knn_correct.mean())


def encode_folder(folder: Path, models: Path, work: Path) -> LabeledVectors:
    """Encode a labeled folder with MobileNetV2, through this program's own index."""
    output = work / f"{folder.name}-{len(list(work.iterdir()))}.npz"
    model_folder = work / f"model-{output.stem}"
    model_folder.mkdir()
    build_index_from_directory(folder, output, config=mobilenet(models, model_folder))
    index = Index.open(output)
    return LabeledVectors(index.vectors(), np.array([example.label for example in index.examples]))


def index_of(images: LabeledVectors, labels: Strings | None = None) -> Index:
    """Return an index of these vectors in memory, with other labels if given."""
    names = list(map(str, images.labels if labels is None else labels))
    n, dim = images.vectors.shape
    manifest = Manifest((EncoderEntry(example_fingerprint(dim), "identity"),), n, "dataset", "", "")
    hashes = [f"{number:064x}" for number in range(n)]
    contents = IndexContents(manifest, names, hashes, hashes, (EncoderVectors({}, lambda: [images.vectors]),))
    return Index(contents, IdentityTransform(), images.vectors)


def predict(dataset: LabeledVectors, new: LabeledVectors) -> Predictions:
    """Predict the labels of new images by retrieval."""
    index = index_of(dataset)
    retriever = Retriever.open(RetrievalConfig(), [index])
    parts = [part for _, part in retriever.score_in_batches(QueryVectors.given(new.vectors))]
    probabilities = np.concatenate([part.probabilities for part in parts])
    predicted = np.array(index.label_names)[probabilities.argmax(axis=1)]
    return Predictions(
        probabilities.max(axis=1),
        predicted == new.labels,
        np.concatenate([part.familiarity for part in parts]),
        np.concatenate([part.nearest for part in parts]),
        retriever,
    )


def predict_baselines(dataset: LabeledVectors, new: LabeledVectors) -> Baselines:
    """Predict by kNN-5, and by the better of two logistic regressions."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    knn = KNeighborsClassifier(min(5, len(dataset.labels)), metric="cosine").fit(dataset.vectors, dataset.labels)
    # The usual linear probe: standardized features, the default strength.
    mean, spread = dataset.vectors.mean(axis=0), dataset.vectors.std(axis=0) + 1e-6
    probe = LogisticRegression(max_iter=300).fit((dataset.vectors - mean) / spread, dataset.labels)
    plain = LogisticRegression(C=100, max_iter=300).fit(dataset.vectors, dataset.labels)
    trained_accuracy = max(
        float((probe.predict((new.vectors - mean) / spread) == new.labels).mean()),
        float((plain.predict(new.vectors) == new.labels).mean()),
    )
    knn_correct = knn.predict(new.vectors) == new.labels
    return Baselines(knn.predict_proba(new.vectors).max(axis=1), knn_correct, trained_accuracy)


def split(images: LabeledVectors, seed: int, fraction: float = 0.2) -> Task:
    """Split the images of each label at random; `fraction` of them are new."""
    is_new = drawn_as_new(images.labels, seed, fraction)
    return Task(images.at(~is_new), images.at(is_new))


def drawn_as_new(labels: Strings, seed: int, fraction: float = 0.2) -> BoolArray:
    """Return which of n images are new in a split, (n,): `fraction` of each label, at random."""
    rng = np.random.default_rng(seed)
    is_new = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        is_new[rows[: round(fraction * len(rows))]] = True
    return is_new


def few(task: Task, count: int, seed: int) -> Task:
    """Reduce the dataset to `count` examples per label."""
    return Task(task.dataset.at(drawn_rows(task.dataset.labels, count, seed)), task.new)


def drawn_rows(labels: Strings, count: int, seed: int) -> IntArray:
    """Draw `count` rows of each label, ascending."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)]
    return np.sort(np.concatenate(rows))
