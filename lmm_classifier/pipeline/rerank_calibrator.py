"""Measures a reranker on the corpus: asks it about left-out examples, those in doubt more often than the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmm_classifier.calibration.cross_fitting import folds_of
from lmm_classifier.calibration.fit import LeftOut
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Candidate, Question, Reranked
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.core.protocols import IntArray, Reranker
from lmm_classifier.data.images import Picture, read_pictures
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.index.opening import require_encoder
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.pipeline.label_scorer import LabelScores
from lmm_classifier.pipeline.reference_images import References
from lmm_classifier.pipeline.retriever import Retriever
from lmm_classifier.rerank.benefit import Asked, SecondLook, candidates_needed, choose_whom_to_ask, fit_second_look
from lmm_classifier.rerank.registry import open_reranker

logger = logging.getLogger(__name__)

_CHUNK = 32  # pictures read and asked about at a time
_LEAST_ASKED = 20  # answers under which nothing can be said


def measure_second_look(
    index: ExactIndex,
    path: Path,
    config: PipelineConfig,
    left_out: LeftOut,
    budget: int,
    progress: ProgressCallback | None = None,
) -> SecondLook:
    """Ask the configured reranker about at most `budget` left-out examples, and fit and judge it by that.

    What was answered before comes from the kept answers, so an interrupted run goes on where it was. Raises
    CalibrationError where there is nothing to measure or the reranker does not answer.
    """
    if not config.rerank.enabled:
        raise CalibrationError("there is no second look to measure: rerank.enabled is false")
    root = Path(index.manifest.image_root)
    if not root.is_dir():
        raise CalibrationError(f"--rerank asks about the corpus's pictures, but {root} is not there: put it back, or "
                               "build the index again from where it is now")  # fmt: skip
    shares = np.exp(left_out.log_probabilities)  # (n, C)
    most = min(config.retrieval.candidates, shares.shape[1])
    count = candidates_needed(shares, left_out.own, config.rerank.candidate_recall, most)
    top = np.argsort(-shares, axis=1, kind="stable")[:, :count]  # (n, k)
    names = list(index.label_names)
    every = [(tuple(names[c] for c in row), shares[n, row]) for n, row in enumerate(top)]
    chosen, weights = choose_whom_to_ask(shares.max(axis=1), _chances(index, left_out.rows), budget)
    asked: dict[int, Asked] = {}
    identity = ""
    for reranker, places in _rerankers(index, path, config, left_out, chosen):
        identity = reranker.identity
        for place, answer in _answers(index, config, reranker, left_out, every, places):
            weight = float(weights[np.searchsorted(chosen, place)])
            truth = names[left_out.own[place]]
            asked[place] = Asked(*every[place], truth, answer, weight)
            if progress is not None:
                progress(Progress("second look", len(asked), len(chosen)))
    answers = [asked[place] for place in sorted(asked)]
    failures = [one.answer.failure for one in answers if one.answer.failure]
    if len(answers) - len(failures) < min(_LEAST_ASKED, len(left_out.rows) // 2):
        reason = max(set(failures), key=failures.count) if failures else "no picture could be read"
        raise CalibrationError(
            f"the second look answered {len(answers) - len(failures)} of {len(chosen)} questions, too few to judge it: "
            f"{reason}. The index is unchanged"
        )
    rerank = config.rerank
    most_calls = None if rerank.max_calls_per_1000 is None else rerank.max_calls_per_1000 / 1000
    fitted = fit_second_look(identity, answers, every, rerank.gain_share, most_calls)
    return replace(fitted, candidates=count)


def _rerankers(
    index: ExactIndex, path: Path, config: PipelineConfig, left_out: LeftOut, chosen: IntArray
) -> Iterator[tuple[Reranker, IntArray]]:
    """The reranker, with the places of `left_out` to ask it about.

    A model is one for all. The look by views lives on the examples: it is asked by folds, each with an index, a space
    and a rule that were made without the fold's examples.
    """
    if config.rerank.backend != "views":
        reranker = open_reranker(config.rerank, _no_scores, 1.0, path)
        if reranker is not None:
            yield reranker, chosen
        return
    encoder = open_encoder(config.encoder)
    require_encoder(index, encoder.fingerprint, str(path))
    for fold in folds_of(left_out.own):
        places = np.intersect1d(fold, chosen)
        part = index.without(left_out.rows[fold])
        if not len(places) or len(part.label_names) < 2:
            continue
        retriever = Retriever(config.retrieval, part)
        known = [place for place in places if index.label_names[left_out.own[place]] in part.label_names]
        scores = LabelScores(encoder, retriever, config.encoder.batch_size)
        views = open_reranker(config.rerank, _among(scores, part.label_names), retriever.temperature)
        if views is not None:
            yield views, np.array(known, np.int64)


def _answers(
    index: ExactIndex,
    config: PipelineConfig,
    reranker: Reranker,
    left_out: LeftOut,
    every: Sequence[tuple[tuple[str, ...], NDArray[np.float64]]],
    places: IntArray,
) -> Iterator[tuple[int, Reranked]]:
    """(place, answer) of all whose pictures are still what they were."""
    limits = config.images.limits
    references = References(index, reranker.references, limits)
    vectors = index.vectors() if reranker.references else None
    rows = left_out.rows[places]
    files = [index.contents.file_of(index.examples[row].path) for row in rows]
    # at full scale: the classifier's reranker sees files as the encoder's limits leave them, which is close enough
    pictures = iter(zip(places, rows, read_pictures(files, limits, None, config.images.readers)))
    while chunk := list(islice(pictures, _CHUNK)):
        questions: dict[int, Question] = {}
        for place, row, picture in chunk:
            if not isinstance(picture, Picture) or picture.content_hash != index.hashes[row]:
                logger.warning("%s is not asked about: it changed or cannot be read", index.examples[row].path)
                continue
            labels, shares = every[place]
            candidates = tuple(Candidate(*pair, ()) for pair in zip(labels, map(float, shares)))
            shown: tuple[tuple[Image.Image, ...], ...] = ()
            if vectors is not None:
                comparison = index.compare(vectors[row : row + 1], [picture.content_hash])
                shown = references.of(comparison, 0, labels)
            hashes = picture.content_hash, picture.content_hash
            questions[int(place)] = Question(picture.image, candidates, *hashes, shown)
        yield from zip(questions, _asked(reranker, list(questions.values())))


def _asked(reranker: Reranker, questions: Sequence[Question]) -> list[Reranked]:
    try:
        return reranker.rerank(questions)
    except Exception as error:
        logger.exception("the reranker failed on %d pictures", len(questions))
        return [Reranked((), 0.0, f"{type(error).__name__}: {error}")] * len(questions)


def _chances(index: ExactIndex, rows: IntArray) -> NDArray[np.float64]:
    """A number of 0..1 that stays with each picture, from its content."""
    return np.array([int(index.hashes[row][:13], 16) / 16**13 for row in rows])


def _among(scores: LabelScores, known: Sequence[str]) -> Callable[..., list[NDArray[np.float64]]]:
    """Scores of labels of which some may have lost all their examples with the fold: those have no evidence."""
    there = set(known)

    def score(
        images: Sequence[Image.Image], leave_out: Sequence[str | None], labels: Sequence[Sequence[str]]
    ) -> list[NDArray[np.float64]]:
        left = [[label for label in wanted if label in there] for wanted in labels]
        found = scores(images, leave_out, left)
        return [
            np.array([dict(zip(mine, row)).get(label, -np.inf) for label in wanted])
            for mine, wanted, row in zip(left, labels, found)
        ]

    return score


def _no_scores(*_: object) -> list[NDArray[np.float64]]:
    raise RuntimeError("a model needs no scores of retrieval")
