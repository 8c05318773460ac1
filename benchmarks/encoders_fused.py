"""Several encoders: the accuracy, the confidence and the guarantees of fusions, and what cascades cost.

Every figure comes from the program's own index and retriever, on images that the index does not hold.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from benchmarks.accuracy import mobilenet
from benchmarks.quality_audit import flip
from benchmarks.rows import Better, Row, where, write_rows
from lmm_classifier.calibration.cascade import Cascade
from lmm_classifier.calibration.fit import fit_by_leave_one_out, fusion_fit
from lmm_classifier.calibration.risk_control import RiskGuarantee, fixed_sequence_threshold
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core import metrics
from benchmarks.quality_data import Strings
from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.evaluation.audit import audit_opened_index
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.encoder_retriever import EncoderRetriever
from lmm_classifier.pipeline.query_vectors import QueryVectors
from lmm_classifier.pipeline.retriever import Retriever
from lmm_classifier.testing import example_fingerprint

COMMAND = "python -m benchmarks.encoders_fused --data DATA --models MODELS"
FITTED = ("descriptor",)  # encoders whose transform is fitted to the dataset
SPLITS = 5
GUARANTEE_SPLITS = 10
DELTA = 0.1


@dataclass(frozen=True)
class Images:
    """The vectors of labeled images by each encoder, and their labels."""

    vectors: dict[str, Float32Array]
    labels: Strings

    def at(self, rows: IntArray | BoolArray) -> Images:
        """Return some of the images."""
        return Images({name: vectors[rows] for name, vectors in self.vectors.items()}, self.labels[rows])


@dataclass(frozen=True)
class Task:
    """A dataset, and new images of the same labels."""

    dataset: Images
    new: Images


@dataclass(frozen=True)
class Answers:
    """What retrieval says about n new images."""

    confidence: Float64Array  # (n,)
    correct: BoolArray  # (n,)
    familiarity: Float64Array  # (n,)
    asked: tuple[float, ...]  # fraction of the images that each encoder was asked about
    guarantee: RiskGuarantee | None  # of 5 % errors, on held-out examples

    @property
    def risk(self) -> float:
        """Return the area under the risk-coverage curve, times 100."""
        return 100 * metrics.area_under_risk_coverage(self.confidence, self.correct)

    @property
    def calibration_error(self) -> float:
        """Return the expected calibration error, in percent."""
        return 100 * metrics.expected_calibration_error(self.confidence, self.correct)


def split(images: Images, seed: int, fraction: float = 0.2) -> Task:
    """Split the images of each label at random, as `quality_data` does."""
    rng = np.random.default_rng(seed)
    is_new = np.zeros(len(images.labels), bool)
    for label in np.unique(images.labels):
        rows = rng.permutation(np.flatnonzero(images.labels == label))
        is_new[rows[: round(fraction * len(rows))]] = True
    return Task(images.at(~is_new), images.at(is_new))


def few(task: Task, count: int, seed: int) -> Task:
    """Reduce the dataset to `count` examples per label."""
    rng = np.random.default_rng(seed)
    labels = task.dataset.labels
    rows = [rng.permutation(np.flatnonzero(labels == label))[:count] for label in np.unique(labels)]
    return Task(task.dataset.at(np.sort(np.concatenate(rows))), task.new)


def indexes_of(images: Images, encoders: Sequence[str], labels: Strings | None = None) -> list[ExactIndex]:
    """Return an index in memory for each encoder, with other labels if given."""
    names = list(map(str, images.labels if labels is None else labels))
    hashes = [f"{number:064x}" for number in range(len(names))]
    transforms, entries, parts = [], [], []
    for number, encoder in enumerate(encoders):
        vectors = images.vectors[encoder]
        fitter = DescriptorEncoder.transform_fitter if encoder in FITTED else IdentityTransform().fitter
        transforms.append(fitter.fit(lambda vectors=vectors: iter([vectors])))
        entries.append(EncoderEntry(example_fingerprint(vectors.shape[1], f"{number}"), transforms[-1].name))
        parts.append(EncoderVectors(transforms[-1].to_arrays(), lambda vectors=vectors: [vectors]))
    manifest = Manifest(tuple(entries), len(names), "dataset", "", "")
    contents = IndexContents(manifest, names, hashes, hashes, tuple(parts))
    return [
        ExactIndex(contents, transform, transform.transform(images.vectors[encoder]), number)
        for number, (encoder, transform) in enumerate(zip(encoders, transforms))
    ]


@cache
def fitted(key: int, encoders: tuple[str, ...], cascade: bool) -> tuple[Retriever, RiskGuarantee | None]:
    """Fit the rules of a task, and the guarantee of 5 % errors on its held-out examples."""
    config = RetrievalConfig(cascade=cascade)
    indexes = indexes_of(_TASKS[key].dataset, encoders)
    calibration, held_out = fit_by_leave_one_out(config, indexes)
    guarantee = fixed_sequence_threshold(held_out.confidence, held_out.correct, 0.05, DELTA)
    opened = tuple(
        EncoderRetriever.open(config, index, fit, None, whole=False) for index, fit in zip(indexes, calibration.fits)
    )
    retriever = Retriever(opened, calibration, None, calibration.cascade.stages[0].encoders[0])
    return retriever, guarantee if isinstance(guarantee, RiskGuarantee) else None


_TASKS: dict[int, Task] = {}


def answers(task: Task, encoders: Sequence[str], cascade: bool = False) -> Answers:
    """Classify the new images of a task."""
    _TASKS[id(task)] = task
    retriever, guarantee = fitted(id(task), tuple(encoders), cascade)
    vectors = QueryVectors.given(*(task.new.vectors[encoder] for encoder in encoders))
    parts = [part for _, part in retriever.score_in_batches(vectors)]
    probabilities = np.concatenate([part.probabilities for part in parts])
    reached = np.concatenate([part.stage for part in parts])
    predicted = np.array(retriever.index.label_names)[probabilities.argmax(axis=1)]
    return Answers(
        probabilities.max(axis=1),
        predicted == task.new.labels,
        np.concatenate([part.familiarity for part in parts]),
        _asked(retriever.calibration.cascade, reached, len(encoders)),
        guarantee,
    )


def _asked(cascade: Cascade, reached: IntArray, encoders: int) -> tuple[float, ...]:
    shares = [0.0] * encoders
    for number, stage in enumerate(cascade.stages):
        for place in stage.encoders:
            shares[place] = max(shares[place], float((reached >= number).mean()))
    return tuple(shares)
