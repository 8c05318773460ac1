"""What retrieval says about some images: probabilities and familiarity, and the examples that support a label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lmm_classifier.calibration.fusion.cascade import Stage
from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.neighbors.gathering.gathered import GatheredSimilarities
from lmm_classifier.pipeline.retrieval.encoder_retriever import EncoderScores

_UNFAMILIAR = -4.0  # as where no example is left to compare with


@dataclass(frozen=True)
class ScoresOfEncoder:
    """What one encoder says about those of n images that it was asked about."""

    rows: IntArray  # (m,) ascending
    scores: EncoderScores  # of these m images

    def places_of(self, rows: IntArray) -> IntArray:
        """Return the places of some of the images among the m."""
        return np.searchsorted(self.rows, rows)


@dataclass
class RetrievalScores:
    """What retrieval says about n images."""

    log_probabilities: Float64Array  # (n, C) of the labels; -inf for a label without evidence
    familiarity: Float64Array  # (n,) robust standard deviations, higher is more familiar
    stage: IntArray  # (n,) number of the stage of the cascade that answered
    strongest: IntArray  # (n, C) place of the encoder that supports most each label
    similarity_encoder: int
    parts: dict[int, ScoresOfEncoder] = field(default_factory=dict)  # by the place of the encoder

    @classmethod
    def empty(cls, count: int, labels: int, similarity_encoder: int) -> RetrievalScores:
        """Return the scores of images that no encoder was asked about yet."""
        return cls(
            np.full((count, labels), -np.inf),
            np.full(count, _UNFAMILIAR),
            np.zeros(count, np.int64),
            np.full((count, labels), similarity_encoder),
            similarity_encoder,
        )

    def put(self, number: int, stage: Stage, parts: Sequence[ScoresOfEncoder], rows: IntArray) -> None:
        """Take the answers of a stage for these images, all of whose encoders answered."""
        if not len(rows):
            return
        places = [part.places_of(rows) for part in parts]
        logs = [part.scores.log_probabilities[place] for part, place in zip(parts, places)]
        familiarity = [part.scores.familiarity[place] for part, place in zip(parts, places)]
        fused = stage.fusion.log_probabilities(logs)
        self.log_probabilities[rows] = fused
        self.familiarity[rows] = stage.fusion.familiarity(familiarity, fused)
        self.stage[rows] = number
        self.strongest[rows] = np.asarray(stage.encoders)[stage.fusion.strongest(logs)]

    @property
    def probabilities(self) -> Float64Array:
        """Return the probabilities of the labels, (n, C)."""
        return np.exp(self.log_probabilities)

    @property
    def nearest(self) -> Float64Array:
        """Return the cosine similarity of the nearest example, (n,); -inf where all were left out."""
        part = self.parts[self.similarity_encoder]
        nearest = np.full(len(self.familiarity), -np.inf)
        nearest[part.rows] = part.scores.nearest
        return nearest

    def nearest_among(
        self, wanted: Sequence[tuple[int, int]], rows_of: Sequence[IntArray] | None, k: int
    ) -> tuple[IntArray, Float64Array]:
        """Return for w pairs of an image and a label, sorted by image, the k nearest of its examples.

        They are by the encoder that supports most the label.

        Args:
            wanted: the pairs.
            rows_of: for each label its rows in the index; None: of the rows that were read.
            k: most examples of a pair.

        Returns:
            Rows of the index, (w, k), -1 where a label has fewer, and their cosines.
        """
        rows, cosines = np.full((len(wanted), k), -1, np.int64), np.full((len(wanted), k), -np.inf)
        by_encoder: dict[int, list[int]] = {}
        for number, (query, label) in enumerate(wanted):
            by_encoder.setdefault(int(self.strongest[query, label]), []).append(number)
        for encoder, numbers in by_encoder.items():
            part = self.parts[encoder]
            places = part.places_of(np.array([wanted[number][0] for number in numbers], np.int64))
            labels = [(int(place), wanted[number][1]) for place, number in zip(places, numbers)]
            similarities = part.scores.similarities
            if isinstance(similarities, GatheredSimilarities):
                found, similar = similarities.nearest_of_labels(labels, k)
            else:
                each = rows_of or ()
                found, similar = similarities.nearest_among([(place, each[label]) for place, label in labels], k)
            rows[numbers, : found.shape[1]], cosines[numbers, : found.shape[1]] = found, similar
        return rows, cosines

    def nearest_of_label(self, query: int, label: int, rows: IntArray, k: int) -> tuple[IntArray, Float64Array, int]:
        """Return the k nearest of some rows to an image, their cosines, and the place of the encoder that found them.

        It is the encoder that supports most the label.
        """
        encoder = int(self.strongest[query, label])
        part = self.parts[encoder]
        place = int(part.places_of(np.array([query]))[0])
        return (*part.scores.similarities.nearest(place, k, rows), encoder)
