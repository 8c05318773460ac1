"""Retrieval as a whole: the index, the rule that votes, and what was fitted or calibrated on the corpus."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fitted_rule import FittedVoices
from lmm_classifier.core.protocols import Comparison, FloatArray, IntArray
from lmm_classifier.embeddings.whitening import IdentitySpace
from lmm_classifier.index.hnsw import Graph, wants_graph
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery, directions
from lmm_classifier.neighbors.metric import whitened
from lmm_classifier.neighbors.shortlist import ShortlistComparison
from lmm_classifier.neighbors.similarities import GalleryComparison
from lmm_classifier.neighbors.voting import open_recipe

logger = logging.getLogger(__name__)

CONFIDENCE = 0.7  # accepted at once where nobody calibrated: wrong three times in ten at most
KEEP_KNOWN = 0.95
_ROWS_WORTH_A_WORD = 3000
_SHORTLIST = 500  # rows; of the ten nearest it lacks one in some thousands (see benchmarks/search.py)

_Either = GalleryComparison | ShortlistComparison


@dataclass(frozen=True)
class Votes:
    """Scores (n, C) of the rule, how familiar the queries look (n,), and the comparison (n, N) for evidence.

    `nearest` (n,) is the similarity of the nearest example, -inf where all were left out.
    `nearness` (n,) is what the open-set threshold is compared with: the familiarity, or, where that threshold was set
    by hand, the nearest similarity.
    """

    scores: NDArray[np.float64]
    familiarity: NDArray[np.float64]
    nearness: NDArray[np.float64]
    nearest: NDArray[np.float64]
    comparison: Comparison


class Retriever:
    """Compares vectors with the examples and lets the configured rule vote.

    What the rule needs is taken from the calibration in the index, or fitted here where there is none, or where
    `labels` leaves a part of the corpus; thresholds that were promised hold in any case. What a `former` retriever of
    another version of the index has computed is taken over.
    """

    def __init__(
        self,
        config: RetrievalConfig,
        index: ExactIndex,
        labels: Sequence[str] | None = None,
        former: Retriever | None = None,
    ) -> None:
        recipe = open_recipe(config, index.label_ids, len(index.label_names))
        stored = Calibration.of(index.contents, recipe)
        calibration, beside = stored, None
        if labels is not None:
            if not isinstance(index.space, IdentitySpace):
                beside = index.vectors()[~np.isin(np.array(index.contents.labels), list(labels))]
            index, calibration = index.only(labels), None  # among fewer labels other things are usual
            recipe = open_recipe(config, index.label_ids, len(index.label_names))
        if calibration is None:
            if len(index) > _ROWS_WORTH_A_WORD:
                logger.info("fitting the rule to %d examples; `calibrate` does it once for all", len(index))
            calibration = Calibration.fit(config, index, beside=beside)[0]
        same = former if former and former._voices.metric.equals(calibration.voices.metric) else None
        then = _rows_then(same, index)
        calibration = calibration.completed(index.gallery, _norms_then(same, then))
        self.threshold_by_hand = config.open_set_threshold is not None
        self.index = index
        self.familiarity = calibration.familiarity
        self._recipe = recipe
        self._voices: FittedVoices = calibration.voices
        before = same._whitened if same else None
        self._whitened: Gallery = whitened(self._voices.metric, index.gallery, calibration.norms, before, then)
        self._graph: Graph | None = None
        if wants_graph(config.search, len(index)):
            whole = labels is None and config.index_path.is_dir()  # what a part needs is not kept
            self._graph = Graph(index, config.index_path if whole else None, former._graph if former else None)
        self.temperature = self._voices.temperature
        self.second_look = stored.second_look if stored else None
        promised = stored.confidence_threshold if stored else None
        self.confidence_threshold = _first(config.confidence_threshold, promised, CONFIDENCE)
        keep = _first(config.keep_known, stored.keep_known if stored else None, KEEP_KNOWN)
        self.least_share = None if config.set_alpha is None else calibration.least_share(config.set_alpha)
        self.open_set_threshold = _first(config.open_set_threshold, self.familiarity.threshold(keep))

    @property
    def queries_at_once(self) -> int:
        """How many vectors to let vote at a time, so that memory does not grow with the corpus."""
        return self.index.gallery.queries_at_once

    def votes(self, vectors: FloatArray, leave_out: Sequence[str | None] | None = None) -> Votes:
        """Compare encoder vectors (n, dim), leaving out rows of the content hashes `leave_out`."""
        plain, white = self._compared(vectors, self.index.rows_of_contents(leave_out or ()))
        heard = white if self._recipe.whitened else plain
        scores = self._voices.together([voice.scores(heard) for voice in self._recipe.voices], plain.units)
        familiarity = self.familiarity.of(plain, white)
        near = plain.nearest_each(1)[1]  # (n, 1), or (n, 0) where there is no example
        nearest = near.max(axis=1, initial=-np.inf)
        return Votes(scores, familiarity, nearest if self.threshold_by_hand else familiarity, nearest, plain)

    def _compared(self, vectors: FloatArray, left_out: Sequence[IntArray]) -> tuple[_Either, _Either]:
        """Hold encoder vectors (n, dim) against the examples or a shortlist of them: as they are, and in the metric."""
        gallery, queries = self.index.gallery, self.index.queries(vectors)
        if self._graph is None:
            plain: _Either = gallery.compare(queries, left_out)
            return plain, self._whitened.compare(self._voices.metric.whiten(plain.units), left_out)
        spare = max(map(len, left_out), default=0)  # as many may be found that are not wanted
        found = self._graph.search(directions(queries)[0], _SHORTLIST + spare)
        plain = ShortlistComparison.of(gallery, queries, found, left_out)
        white = self._voices.metric.whiten(plain.units)
        return plain, ShortlistComparison.of(self._whitened, white, found, left_out)


def _rows_then(former: Retriever | None, index: ExactIndex) -> list[int]:
    """Where each example is in the index of a `former` retriever, -1 for new ones; nothing where there is none."""
    if former is None:
        return []
    then = {content: row for row, content in enumerate(former.index.hashes)}
    return [then.get(content, -1) for content in index.hashes]


def _norms_then(former: Retriever | None, rows_then: Sequence[int]) -> NDArray[np.float64] | None:
    """The lengths in its metric that a `former` retriever knows, NaN for new examples."""
    if former is None or former._whitened.fold is None:
        return None
    rows = np.asarray(rows_then, np.int64)
    return np.asarray(np.where(rows < 0, np.nan, former._whitened.fold.norms[rows]))


def _first(*values: float | None) -> float:
    return next(value for value in values if value is not None)
