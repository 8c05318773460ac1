"""Retrieval as a whole: what each encoder says of an image, fused; and which encoders are asked at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.fusion.cascade import Cascade
from lmm_classifier.calibration.loading import usable_calibration
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.calibration.priors.prior_estimate import PriorEstimate
from lmm_classifier.calibration.sparse.store_fit import fit_through_stores
from lmm_classifier.calibration.sparse.store_loading import stores_version, usable_store_calibration
from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.fingerprint import encoder_names
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.neighbors.gathering.store_rule import make_store_rule
from lmm_classifier.neighbors.voting import make_rule
from lmm_classifier.pipeline.retrieval.carried_fit import CarriedFit
from lmm_classifier.pipeline.retrieval.encoder_retriever import EncoderRetriever
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retrieval_scores import RetrievalScores, ScoresOfEncoder
from lmm_classifier.pipeline.retrieval.store_retriever import StoreRetriever


@dataclass(frozen=True)
class Retriever:
    """Compares the vectors of images with the examples, scores the labels by each encoder, and fuses the scores.

    `calibration` is what it scores with: the stored one, or one fitted on opening where none fits. `stored` is the
    calibration of the index, None where it is missing or stale.
    """

    encoders: tuple[EncoderRetriever | StoreRetriever, ...]
    calibration: Calibration
    stored: Calibration | None
    similarity_encoder: int  # place of the encoder whose nearest similarity is given
    fitted: CarriedFit | None = None  # the fit on opening that is used, here or of a former version; None: a stored one
    is_carried: bool = False  # whether that fit is of a former version
    predictions: HeldOutPredictions | None = None  # behind a calibration that new images helped to fit
    priors: PriorEstimate | None = None  # of new images; None: those of the dataset are used

    @classmethod
    def open(
        cls,
        config: RetrievalConfig,
        indexes: Sequence[Index],
        labels: Sequence[str] | None = None,
        former: Retriever | None = None,
        progress: ProgressCallback | None = None,
        carry: bool = False,
    ) -> Retriever:
        """Open retrieval over an index.

        Args:
            config: the rule, and how to search.
            indexes: the examples, with the vectors of each configured encoder.
            labels: if given, only these may be answered. The rules are then fitted to them alone, since other
                similarities are usual among fewer labels.
            former: a retriever of another version of the index, whose work is reused where it still holds.
            progress: called while the rules are fitted, because no stored calibration fits.
            carry: go on with the fit of `former` while few examples changed. The retriever may then differ from one
                that is opened without `former`.
        """
        first = indexes[0]
        if isinstance(first, StoreIndex):
            return cls._of_stores(config, indexes, labels, progress)
        spec = make_rule(config, first.label_ids, len(first.label_names))
        stored = usable_calibration(first.contents, spec, [index.encoder for index in indexes])
        other_vectors: list[Float32Array | None] = [None] * len(indexes)
        if labels is not None:
            others = ~np.isin(np.array(first.contents.labels), list(labels))
            other_vectors = [
                None if isinstance(index.transform, IdentityTransform) else index.vectors()[others] for index in indexes
            ]
            indexes = [index.only(labels) for index in indexes]
        calibration, fitted, is_carried = stored, None, False
        if labels is not None or calibration is None:
            fitted = former.fitted if carry and former is not None else None
            calibration = _carried(fitted, config, indexes[0], first)
            is_carried = calibration is not None
            if calibration is None:
                calibration = fit_by_leave_one_out(
                    config, indexes, other_vectors=other_vectors, progress=progress, sparse=True
                )[0]
                fitted = CarriedFit.of(calibration, indexes[0].contents, first.contents)
        formers = [encoder for encoder in former.encoders if isinstance(encoder, EncoderRetriever)] if former else []
        formers = formers if len(formers) == len(indexes) else []
        encoders = tuple(
            EncoderRetriever.open(config, index, fit, formers[place] if formers else None)
            for place, (index, fit) in enumerate(zip(indexes, calibration.fits, strict=True))
        )
        calibration = replace(calibration, fits=tuple(encoder.fit for encoder in encoders))
        return cls(encoders, calibration, stored, _similarity_encoder(config, calibration), fitted, is_carried)

    @classmethod
    def _of_stores(
        cls,
        config: RetrievalConfig,
        indexes: Sequence[Index],
        labels: Sequence[str] | None,
        progress: ProgressCallback | None,
    ) -> Retriever:
        stored_indexes = [index for index in indexes if isinstance(index, StoreIndex)]
        first, stores = stored_indexes[0], [index.store for index in stored_indexes]
        if labels is not None:
            first.only(labels)
        spec = make_store_rule(config, len(first.label_names), ReadingLimits())
        places = [index.encoder for index in indexes]
        stored = usable_store_calibration(first.contents, stores_version(stores), spec, places)
        calibration = stored or fit_through_stores(config, stores, progress=progress)[0]
        encoders = tuple(
            StoreRetriever.open(index, fit) for index, fit in zip(stored_indexes, calibration.fits, strict=True)
        )
        return cls(encoders, calibration, stored, _similarity_encoder(config, calibration))

    @property
    def index(self) -> Index:
        """Return the examples, with the vectors of the first encoder."""
        return self.encoders[0].index

    @cached_property
    def names(self) -> list[str]:
        """Return a short name of each encoder."""
        return encoder_names([encoder.index.fingerprint for encoder in self.encoders])

    @property
    def first_encoders(self) -> tuple[int, ...]:
        """Return the places of the encoders that are asked about every image."""
        return tuple(dict.fromkeys((*self.calibration.cascade.stages[0].encoders, self.similarity_encoder)))

    @property
    def later_encoders(self) -> tuple[int, ...]:
        """Return the places of the encoders that are asked about some images."""
        first = self.first_encoders
        return tuple(place for place in self.calibration.cascade.encoders if place not in first)

    @property
    def encoder_places(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the places of the encoders that are asked first, and of those that may be asked later."""
        return self.first_encoders, self.later_encoders

    @property
    def steps(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Return for each stage that asks new encoders its number, and their places; the first one is for all images.

        It asks the encoder of the similarity too.
        """
        asked, found = set(self.first_encoders), [(0, self.first_encoders)]
        for number, stage in enumerate(self.calibration.cascade.stages[1:], 1):
            if new := tuple(place for place in stage.encoders if place not in asked):
                found.append((number, new))
                asked.update(new)
        return tuple(found)

    def asked_by(self, stage: int, vectors: QueryVectors, leave_out: Sequence[str | None] | None = None) -> IntArray:
        """Return the rows of the images, at most `queries_at_once`, that this stage is asked about, after the first."""
        stages = self.calibration.cascade.stages[:stage]
        before = replace(self, calibration=replace(self.calibration, cascade=Cascade(stages)))
        scored = before.score(vectors, leave_out)
        confidence = np.exp(scored.log_probabilities.max(axis=1, initial=-np.inf))
        return np.flatnonzero((scored.stage == stage - 1) & (confidence <= stages[-1].ask_up_to))

    @property
    def queries_at_once(self) -> int:
        """How many images to score at a time, so that memory does not grow with the index."""
        return min(encoder.queries_at_once for encoder in self.encoders)

    def calibrated_by(
        self, config: RetrievalConfig, calibration: Calibration, predictions: HeldOutPredictions
    ) -> Retriever:
        """Return retrieval over the same examples that scores with another calibration, which is not stored."""
        encoders = tuple(encoder.fitted_by(fit) for encoder, fit in zip(self.encoders, calibration.fits, strict=True))
        calibration = replace(calibration, fits=tuple(encoder.fit for encoder in encoders))
        place = _similarity_encoder(config, calibration)
        return Retriever(encoders, calibration, None, place, predictions=predictions)

    def score(self, vectors: QueryVectors, leave_out: Sequence[str | None] | None = None) -> RetrievalScores:
        """Score n images; examples with a content hash in `leave_out` (n,) do not count."""
        left_out = self.index.rows_with_hash(leave_out or ())
        count, labels = len(vectors), len(self.index.label_names)
        scored = RetrievalScores.empty(count, labels, self.similarity_encoder)
        asked, parts = np.arange(count), scored.parts
        if self.similarity_encoder not in self.calibration.cascade.stages[0].encoders:
            parts[self.similarity_encoder] = self._part(self.similarity_encoder, vectors, asked, left_out)
        for number, stage in enumerate(self.calibration.cascade.stages):
            for place in stage.encoders:
                if place not in parts:
                    parts[place] = self._part(place, vectors, asked, left_out)
                # those that it cannot encode keep the answer of the stage before
                asked = np.intersect1d(asked, parts[place].rows)
            scored.put(number, stage, [parts[place] for place in stage.encoders], asked)
            asked = asked[np.exp(scored.log_probabilities[asked].max(axis=1, initial=-np.inf)) <= stage.ask_up_to]
            if not len(asked):
                break
        if self.priors is not None:
            scored.log_probabilities = self.priors.apply(scored.log_probabilities)
        return scored

    def _part(self, place: int, vectors: QueryVectors, rows: IntArray, left_out: Sequence[IntArray]) -> ScoresOfEncoder:
        of_rows, encoded = vectors.of(place, rows)
        excluded = [left_out[row] for row in encoded] if left_out else []
        return ScoresOfEncoder(encoded, self.encoders[place].score(of_rows, excluded))

    def score_in_batches(
        self, vectors: QueryVectors, leave_out: Sequence[str | None] | None = None
    ) -> Iterator[tuple[slice, RetrievalScores]]:
        """Score images part by part, so that memory does not grow with the index."""
        for start in range(0, len(vectors), step := self.queries_at_once):
            part = slice(start, start + step)
            yield part, self.score(vectors.part(part), leave_out[part] if leave_out is not None else None)


def _similarity_encoder(config: RetrievalConfig, calibration: Calibration) -> int:
    # a threshold of similarity that was set by hand belongs to the first encoder, even if it is not asked otherwise
    return 0 if config.open_set_threshold is not None else calibration.cascade.stages[0].encoders[0]


def _carried(fitted: CarriedFit | None, config: RetrievalConfig, index: Index, whole: Index) -> Calibration | None:
    if fitted is None:
        return None
    spec = make_rule(config, index.label_ids, len(index.label_names))
    return fitted.on(index.contents, whole.contents, spec)
