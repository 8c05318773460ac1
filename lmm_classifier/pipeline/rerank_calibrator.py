"""Measures a reranker on held-out examples of the index, the uncertain ones more often than the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.cross_fitting import stratified_folds
from lmm_classifier.calibration.fit import Fit, fit_by_leave_one_out
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.datatypes import Candidate, RerankRequest, RerankResult
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.index_location import IndexLocation, index_location, path_of
from lmm_classifier.core.progress import Progress, ProgressCallback, ProgressOption
from lmm_classifier.core.progress_display import displayed
from lmm_classifier.core.protocols import Reranker
from lmm_classifier.data.images import DecodedImage, read_images
from lmm_classifier.data.readers.opening import source_problem
from lmm_classifier.index.settings.remembered import config_of_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.index_encoder import open_encoders_of
from lmm_classifier.pipeline.label_scorer import LabelScorer
from lmm_classifier.pipeline.reference_images import ReferenceImages
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.rerank.benefit import (
    RerankerBenefit,
    Trial,
    candidates_for_recall,
    fit_benefit,
    sample_by_uncertainty,
)
from lmm_classifier.rerank.registry import open_reranker

logger: logging.Logger = logging.getLogger(__name__)

_CHUNK = 32  # images read and asked about at a time
_MIN_ANSWERS = 20  # fewer answers say nothing about a reranker

_Ranking = tuple[tuple[str, ...], Float64Array]  # candidate labels, best first, and their probabilities (k,)


def measure_reranker(
    index_path: Path | str,
    config: PipelineConfig | None = None,
    max_calls: int = 400,
    progress: ProgressOption | None = None,
) -> RerankerBenefit:
    """Measure the configured reranker on held-out examples of an index; the index is not changed.

    `calibrate_index` does the same with `CalibrationRequest(max_calls=...)` and stores what it measured.

    Args:
        index_path: a durable index (folder), an `.npz` file, or a table, whose image files exist.
        config: names the rule and the reranker. None: what the index remembers.
        max_calls: most examples to ask about. Answers are stored next to the index, so that a run that was
            interrupted resumes.
        progress: True shows it; a function is called after each answer, and may raise `Cancelled` to stop.

    Raises:
        CalibrationError: if there is nothing to measure, or the reranker gives too few answers.

    Example:
        >>> from lmm_classifier import PipelineConfig, measure_reranker
        >>> benefit = measure_reranker("index", PipelineConfig.offline(), max_calls=20)
        >>> benefit.identity, benefit.outcomes.pays in (True, False)
        ('views:five', True)
    """
    path, config = index_location(index_path), config or config_of_index(index_path)
    indexes = Index.open_each(path)
    fit = fit_by_leave_one_out(config.retrieval, indexes)
    with displayed(progress) as show:
        return measure_on_predictions(indexes, path, config, fit, max_calls, show)


def measure_on_predictions(
    indexes: Sequence[Index],
    path: IndexLocation,
    config: PipelineConfig,
    fit: Fit,
    max_calls: int,
    progress: ProgressCallback | None = None,
) -> RerankerBenefit:
    """Ask the configured reranker about at most `max_calls` held-out examples, and fit its benefit to the answers."""
    index, predictions = indexes[0], fit[1]
    if not config.rerank.enabled:
        raise CalibrationError("There is no reranker to measure: rerank.enabled is false")
    if not index.manifest.has_images:
        raise CalibrationError(
            "The reranker is measured on the images of the dataset, but the index was made from vectors and has none."
        )
    if problem := source_problem(index.manifest.image_root):
        raise CalibrationError(
            f"The reranker is measured on images of the dataset, but {problem}. Put it back, or build the index again "
            "from where the images are now."
        )
    rankings, count = _rankings(index, config, predictions)
    confidence = predictions.confidence
    chosen, weights = sample_by_uncertainty(confidence, _chances(index, predictions.rows), max_calls)
    trials: dict[int, Trial] = {}
    identity = ""
    for reranker, positions in _rerankers(indexes, path, config, predictions, chosen):
        identity = reranker.identity
        for position, answer in _answers(indexes, config, reranker, fit, rankings, positions):
            truth = index.label_names[predictions.label_ids[position]]
            weight = float(weights[np.searchsorted(chosen, position)])
            trials[position] = Trial(*rankings[position], truth, answer, weight)
            if progress is not None:
                failures = sum(bool(trial.answer.failure) for trial in trials.values())
                progress(Progress("reranking", len(trials), len(chosen), failures))
    in_order = [trials[position] for position in sorted(trials)]
    _check_answers(in_order, len(chosen), len(predictions.rows))
    gate = config.rerank.gate
    most_calls = None if gate.max_calls_per_1000 is None else gate.max_calls_per_1000 / 1000
    return replace(fit_benefit(identity, in_order, rankings, gate.target_gain, most_calls), candidates=count)


def _rankings(index: Index, config: PipelineConfig, predictions: HeldOutPredictions) -> tuple[list[_Ranking], int]:
    """Return the candidates of every held-out example, and how many there are of each."""
    probabilities = np.exp(predictions.log_probabilities)  # (n, C)
    most = min(config.retrieval.candidates, probabilities.shape[1])
    count = candidates_for_recall(probabilities, predictions.label_ids, config.rerank.gate.candidate_recall, most)
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :count]  # (n, k)
    names = list(index.label_names)
    return [
        (tuple(names[label] for label in labels), probabilities[row, labels]) for row, labels in enumerate(top)
    ], count


def _check_answers(trials: Sequence[Trial], asked: int, examples: int) -> None:
    """Raise CalibrationError where too few answers came."""
    failures = [trial.answer.failure for trial in trials if trial.answer.failure]
    answered = len(trials) - len(failures)
    if answered < min(_MIN_ANSWERS, examples // 2):
        reason = max(set(failures), key=failures.count) if failures else "no image could be read"
        raise CalibrationError(
            f"The reranker answered {answered} of {asked} requests, too few to measure it: {reason}. No calibration "
            "was stored."
        )


def _rerankers(
    indexes: Sequence[Index],
    path: IndexLocation,
    config: PipelineConfig,
    predictions: HeldOutPredictions,
    chosen: IntArray,
) -> Iterator[tuple[Reranker, IntArray]]:
    """Yield the reranker with the positions in `predictions` to ask it about.

    A model is the same for all. Augmented views depend on the examples: they are asked by folds, each with an index, a
    transform and a rule that were made without the fold's examples.
    """
    if config.rerank.backend != "views":
        reranker = open_reranker(config.rerank, _no_scores, path_of(path), patient=True)
        if reranker is not None:
            yield reranker, chosen
        return
    encoders, index = open_encoders_of(indexes, config, path), indexes[0]
    for fold in stratified_folds(predictions.label_ids):
        positions = np.intersect1d(fold, chosen)
        rest = [of_encoder.without(predictions.rows[fold]) for of_encoder in indexes]
        labels = rest[0].label_names
        if not len(positions) or len(labels) < 2:
            continue
        retriever = Retriever.open(config.retrieval, rest)
        known = [p for p in positions if index.label_names[predictions.label_ids[p]] in labels]
        scorer = LabelScorer(encoders, retriever, config.batch_size)
        views = open_reranker(config.rerank, _scores_of_known(scorer, labels))
        if views is not None:
            yield views, np.array(known, np.int64)


def _answers(
    indexes: Sequence[Index],
    config: PipelineConfig,
    reranker: Reranker,
    fit: Fit,
    rankings: Sequence[_Ranking],
    positions: IntArray,
) -> Iterator[tuple[int, RerankResult]]:
    """Yield position and answer of every example whose image is unchanged."""
    limits = config.images.limits
    index, (calibration, predictions) = indexes[0], fit
    references = ReferenceImages(indexes, reranker.references, limits)
    neighbors = _HeldOutNeighbors.of(indexes, calibration, predictions) if reranker.references else None
    rows = predictions.rows[positions]
    files = [index.contents.file_of(index.examples[row].path) for row in rows]
    # at full scale: while classifying, the reranker sees images at the scale that the encoder needs, which is close
    images = iter(zip(positions, rows, read_images(files, limits, None, config.images.readers)))
    while chunk := list(islice(images, _CHUNK)):
        requests: dict[int, RerankRequest] = {}
        for position, row, decoded in chunk:
            if not isinstance(decoded, DecodedImage) or decoded.content_hash != index.hashes[row]:
                logger.warning("%s is skipped: it changed or cannot be read", index.examples[row].path)
                continue
            labels, probabilities = rankings[position]
            candidates = tuple(Candidate(*pair, ()) for pair in zip(labels, map(float, probabilities)))
            content = decoded.content_hash
            shown: tuple[tuple[Image.Image, ...], ...] = ()
            if neighbors is not None:
                shown = references.of(partial(neighbors.nearest, int(position)), labels)
            requests[int(position)] = RerankRequest(decoded.image, candidates, content, content, shown)
        yield from zip(requests, _ask(reranker, list(requests.values())))


@dataclass(frozen=True)
class _HeldOutNeighbors:
    """Finds examples that are near to a held-out one, by the encoder that supports most their label."""

    indexes: Sequence[Index]
    vectors: Sequence[Float32Array]  # (N, dim) of each encoder
    rows: IntArray  # (n,) of the held-out examples
    strongest: IntArray  # (n, C) place of that encoder

    @classmethod
    def of(
        cls, indexes: Sequence[Index], calibration: Calibration, predictions: HeldOutPredictions
    ) -> _HeldOutNeighbors:
        stage = calibration.cascade.stages[-1]
        each = predictions.each or (predictions,)
        strongest = stage.fusion.strongest([each[place].log_probabilities for place in stage.encoders])
        vectors = [index.vectors() for index in indexes]
        return cls(indexes, vectors, predictions.rows, np.asarray(stage.encoders)[strongest])

    def nearest(self, position: int, label: int, members: IntArray, k: int) -> tuple[IntArray, Float64Array, int]:
        row, encoder = int(self.rows[position]), int(self.strongest[position, label])
        index = self.indexes[encoder]
        compared = index.compare(self.vectors[encoder][row : row + 1], [index.hashes[row]])
        return (*compared.nearest(0, k, members), encoder)


def _ask(reranker: Reranker, requests: Sequence[RerankRequest]) -> list[RerankResult]:
    try:
        return reranker.rerank(requests)
    except Exception as error:
        logger.exception("The reranker failed on %d images.", len(requests))
        return [RerankResult((), 0.0, f"{type(error).__name__}: {error}")] * len(requests)


def _chances(index: Index, rows: IntArray) -> Float64Array:
    """Return a number from 0 to 1 per row that depends on the image's content alone."""
    return np.array([int(index.hashes[row][:13], 16) / 16**13 for row in rows])


def _scores_of_known(scorer: LabelScorer, known: Sequence[str]) -> Callable[..., list[Float64Array]]:
    """Return a scorer that gives -inf to labels that lost all their examples with the fold."""
    existing = set(known)

    def score(
        images: Sequence[Image.Image], leave_out: Sequence[str | None], labels: Sequence[Sequence[str]]
    ) -> list[Float64Array]:
        scored_labels = [[label for label in wanted if label in existing] for wanted in labels]
        scores = [dict(zip(names, row)) for names, row in zip(scored_labels, scorer(images, leave_out, scored_labels))]
        return [np.array([row.get(label, -np.inf) for label in wanted]) for wanted, row in zip(labels, scores)]

    return score


def _no_scores(*_: object) -> list[Float64Array]:
    raise RuntimeError("a model needs no scores of retrieval")
