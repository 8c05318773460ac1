"""Images with vectors of several encoders, datasets and new images, and what retrieval says of the latter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.accuracy import mobilenet
from benchmarks.quality_data import LabeledVectors, Strings, drawn_as_new, drawn_rows
from lmm_classifier.calibration.fit import fit_by_leave_one_out, fuse, fusion_fit
from lmm_classifier.calibration.fusion.cascade import Cascade
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.calibration.guarantees.risk_control import RiskGuarantee, fixed_sequence_threshold
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core import metrics
from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.embeddings.whitening import IdentityFitter
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.retrieval.encoder_retriever import EncoderRetriever
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.testing import example_fingerprint

ENCODERS = ("lite", "center", "mobilenet", "descriptor")  # "center" is lite on the central half of each image
_FITTED = "descriptor"  # the encoder whose transform is fitted to the dataset
RISK, DELTA = 0.05, 0.1


@dataclass(frozen=True)
class Images:
    """The vectors of labeled images by each encoder, and their labels."""

    vectors: dict[str, Float32Array]
    labels: Strings

    def at(self, rows: IntArray | BoolArray) -> Images:
        """Return some of the images."""
        return Images({name: vectors[rows] for name, vectors in self.vectors.items()}, self.labels[rows])

    def of(self, encoder: str) -> LabeledVectors:
        """Return the images with the vectors of one encoder."""
        return LabeledVectors(self.vectors[encoder], self.labels)

    def indexes(self, encoders: Sequence[str], labels: Strings | None = None) -> list[Index]:
        """Return an index in memory for each encoder, with other labels if given."""
        names = list(map(str, self.labels if labels is None else labels))
        hashes = [f"{number:064x}" for number in range(len(names))]
        transforms, entries, parts = [], [], []
        for number, encoder in enumerate(encoders):
            vectors = self.vectors[encoder]
            fitter = DescriptorEncoder.transform_fitter if encoder == _FITTED else IdentityFitter()
            transforms.append(fitter.fit(lambda vectors=vectors: iter([vectors])))
            entries.append(EncoderEntry(example_fingerprint(vectors.shape[1], f"{number}"), transforms[-1].name))
            parts.append(EncoderVectors(transforms[-1].to_arrays(), lambda vectors=vectors: [vectors]))
        manifest = Manifest(tuple(entries), len(names), "dataset", "", "")
        contents = IndexContents(manifest, names, hashes, hashes, tuple(parts))
        return [
            Index(contents, transform, transform.transform(self.vectors[encoder]), number)
            for number, (encoder, transform) in enumerate(zip(encoders, transforms))
        ]


@dataclass(frozen=True)
class FittedEncoder:
    """Retrieval with one encoder over a dataset, and its predictions for held-out examples."""

    retriever: EncoderRetriever
    fit: EncoderFit
    predictions: HeldOutPredictions


@dataclass(frozen=True, eq=False)
class Task:
    """A dataset, and new images of the same labels."""

    dataset: Images
    new: Images
    fitted: dict[str, FittedEncoder] = field(default_factory=dict)  # what was fitted so far
    answered: dict[tuple[tuple[str, ...], bool], Answers] = field(default_factory=dict)

    def encoder(self, name: str) -> FittedEncoder:
        """Fit the rule to the vectors of one encoder, once."""
        if name not in self.fitted:
            (index,) = self.dataset.indexes((name,))
            calibration, predictions = fit_by_leave_one_out(RetrievalConfig(), [index])
            retriever = EncoderRetriever.open(RetrievalConfig(), index, calibration.fits[0], None, whole=False)
            self.fitted[name] = FittedEncoder(retriever, calibration.fits[0], predictions.in_order_of_rows())
        return self.fitted[name]


@dataclass(frozen=True)
class Answers:
    """What retrieval says about n new images."""

    confidence: Float64Array  # (n,)
    correct: BoolArray  # (n,)
    familiarity: Float64Array  # (n,)
    asked: tuple[float, ...]  # fraction of the images that each encoder was asked about
    threshold: float  # of confidence, with a guarantee of 5 % errors; above 1 where none is possible

    def at(self, rows: IntArray) -> Answers:
        """Return the answers about some of the images."""
        return Answers(self.confidence[rows], self.correct[rows], self.familiarity[rows], self.asked, self.threshold)

    @property
    def risk(self) -> float:
        """Return the area under the risk-coverage curve, times 100."""
        return 100 * metrics.area_under_risk_coverage(self.confidence, self.correct)

    @property
    def calibration_error(self) -> float:
        """Return the expected calibration error, in percent."""
        return 100 * metrics.expected_calibration_error(self.confidence, self.correct)

    @cached_property
    def _accepted(self) -> BoolArray:
        return self.confidence >= self.threshold

    @property
    def guaranteed(self) -> float:
        """Return the fraction of the images that are answered with the guarantee, 0 to 1."""
        return float(self._accepted.mean())

    @property
    def wrong_among_guaranteed(self) -> float:
        """Return the fraction of these answers that are wrong, 0 to 1."""
        return float((~self.correct)[self._accepted].mean()) if self._accepted.any() else 0.0

    @property
    def broken(self) -> bool:
        """Return whether more of them are wrong than a true rate of 5 % gives in 95 of 100 samples."""
        from scipy.stats import binom

        count = int(self._accepted.sum())
        return bool(count) and int((~self.correct)[self._accepted].sum()) > float(binom.ppf(0.95, count, RISK))


def answers(task: Task, encoders: Sequence[str], cascade: bool = False) -> Answers:
    """Classify the new images of a task, as an index with these encoders does."""
    key = (tuple(encoders), cascade)
    if key not in task.answered:
        task.answered[key] = _answers(task, encoders, cascade)
    return task.answered[key]


def _answers(task: Task, encoders: Sequence[str], cascade: bool) -> Answers:
    parts = [task.encoder(name) for name in encoders]
    each = tuple(part.predictions for part in parts)
    predictions = HeldOutPredictions(*(getattr(each[0], name) for name in _FIELDS), each)
    fusion = fusion_fit(parts[0].retriever.index.label_counts, predictions, equal=False)
    calibration, held_out = fuse([part.fit for part in parts], fusion, "auto", cascade)
    guarantee = fixed_sequence_threshold(held_out.confidence, held_out.correct, RISK, DELTA)
    first = calibration.cascade.stages[0].encoders[0]
    retriever = Retriever(tuple(part.retriever for part in parts), calibration, None, first)
    vectors = QueryVectors.given(*(task.new.vectors[name] for name in encoders))
    scored = [part for _, part in retriever.score_in_batches(vectors)]
    probabilities = np.concatenate([part.probabilities for part in scored])
    predicted = np.array(retriever.index.label_names)[probabilities.argmax(axis=1)]
    return Answers(
        probabilities.max(axis=1),
        predicted == task.new.labels,
        np.concatenate([part.familiarity for part in scored]),
        _asked(calibration.cascade, np.concatenate([part.stage for part in scored]), len(encoders)),
        guarantee.threshold if isinstance(guarantee, RiskGuarantee) else 2.0,
    )


_FIELDS = ("rows", "label_ids", "log_probabilities", "expert_log_probabilities", "familiarity")


def _asked(cascade: Cascade, reached: IntArray, encoders: int) -> tuple[float, ...]:
    shares = [0.0] * encoders
    for number, stage in enumerate(cascade.stages):
        for place in stage.encoders:
            shares[place] = max(shares[place], float((reached >= number).mean()))
    return tuple(shares)


def encode(folder: Path, models: Path, work: Path) -> Images:
    """Encode a labeled folder with all encoders, through this program's own index."""
    number = len(list(work.iterdir()))
    (work / f"model-{number}").mkdir()
    config = PipelineConfig()
    config.encoder = [
        EncoderConfig(backend="lite"),
        EncoderConfig(backend="lite", view="center 0.5"),
        *mobilenet(models, work / f"model-{number}").encoders,
        EncoderConfig(backend="descriptor"),
    ]
    output = work / f"index-{number}.npz"
    build_index_from_directory(folder, output, config=config)
    indexes = Index.open_each(output)
    labels = np.array([example.label for example in indexes[0].examples])
    return Images({name: index.vectors() for name, index in zip(ENCODERS, indexes)}, labels)


def split(images: Images, seed: int) -> Task:
    """Split the images of each label at random, as `quality_data` does."""
    is_new = drawn_as_new(images.labels, seed)
    return Task(images.at(~is_new), images.at(is_new))


def few(task: Task, count: int, seed: int) -> Task:
    """Reduce the dataset to `count` examples per label."""
    return Task(task.dataset.at(drawn_rows(task.dataset.labels, count, seed)), task.new)
