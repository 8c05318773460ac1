"""The order in which unlabeled images are worth a label: one cover, weighted by how little is known of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array
from lmm_classifier.discovery.cover import Cover, ambiguity, cold_start, cover, either, novelty
from lmm_classifier.discovery.votes import Votes

Reason = Literal["cold_start", "ambiguous", "new"]
By = Literal["all", "cold_start", "ambiguous", "new"]


@dataclass(frozen=True)
class LabelWeights:
    """How much it matters that an image is covered, 0 to 1; n images.

    `cold_start`: every image counts alike. `ambiguous`: its labels compete. `new`: it may be of a new label.
    """

    weights: Float64Array  # (n,)
    is_new: BoolArray | None  # (n,) whether it counts because it may be of a new label; None: nothing is known

    @classmethod
    def without_labels(cls, count: int) -> LabelWeights:
        """Return the weights (count,) where nothing is known."""
        return cls(cold_start(count), None)

    @classmethod
    def of(cls, votes: Votes, held_out: Float64Array, by: By = "all") -> LabelWeights:
        """Weigh n images by what an index says of them.

        Args:
            votes: on the images.
            held_out: familiarity of the examples, each held out, (N,) ascending.
            by: one of the weights; `all` counts an image that is ambiguous or new. With one label alone, no labels
                compete and every image counts alike.
        """
        if by == "cold_start" or (by != "new" and len(votes.labels) < 2):
            return cls.without_labels(len(votes.scores))
        competing = ambiguity(np.stack([votes.second, votes.scores], axis=1))
        new = novelty(votes.familiarity, held_out)
        if by == "all":
            return cls(either(competing, new), new > competing)
        return cls(new if by == "new" else competing, np.full(len(new), by == "new"))

    def reason(self, row: int) -> Reason:
        """Return why an image counts."""
        if self.is_new is None:
            return "cold_start"
        return "new" if self.is_new[row] else "ambiguous"


def label_order(
    embeddings: Float32Array,
    weights: LabelWeights,
    names: Sequence[str],
    count: int,
    labeled: Float32Array | None = None,
) -> Cover:
    """Return `count` images, the one first whose label would tell most about the others.

    Args:
        embeddings: (n, d) unit vectors in the space of discovery.
        weights: of the n images.
        names: n different texts; the order does not depend on that of the rows.
        count: images to return.
        labeled: (m, d) unit vectors of labeled images.
    """
    return cover(embeddings, weights.weights, names, count, labeled)
