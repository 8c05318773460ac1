"""The space of discovery of several encoders: similarities are fused as probabilities are, by the fitted weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.discovery.space import DiscoverySpace


@dataclass(frozen=True)
class FusedSpace:
    """Maps the rows of E encoders to unit vectors whose cosine is the weighted mean of the cosines in their spaces."""

    spaces: tuple[DiscoverySpace, ...]  # E
    weights: tuple[float, ...]  # E, their sum is 1

    @classmethod
    def of(cls, spaces: Sequence[DiscoverySpace], weights: Sequence[float] | None = None) -> FusedSpace:
        """Fuse spaces; by default they count alike, else by weights of 0 or more."""
        given = np.ones(len(spaces)) if weights is None else np.asarray(weights, np.float64)
        return cls(tuple(spaces), tuple((given / given.sum()).tolist()))

    @classmethod
    def of_examples(
        cls,
        embeddings: Sequence[Float32Array],
        label_ids: IntArray,
        labels: int,
        weights: Sequence[float] | None = None,
    ) -> FusedSpace:
        """Fit to the normalized rows (N, d) of each encoder, whose label numbers (N,) are below `labels`."""
        spaces = [DiscoverySpace.of_examples(rows, label_ids, labels) for rows in embeddings]
        return cls.of(spaces, weights)

    @classmethod
    def of_unlabeled(cls, embeddings: Sequence[Float32Array]) -> FusedSpace:
        """Take the normalized rows (n, d) of each encoder where no label is known."""
        return cls.of([DiscoverySpace.of_unlabeled(rows) for rows in embeddings])

    def map(self, embeddings: Sequence[Float32Array]) -> Float32Array:
        """Return the unit vectors (n, sum of d) of the normalized rows (n, d) of each encoder."""
        mapped = [space.map(rows) for space, rows in zip(self.spaces, embeddings, strict=True)]
        if len(mapped) == 1:
            return mapped[0]
        return np.hstack([np.float32(weight**0.5) * part for weight, part in zip(self.weights, mapped)])
