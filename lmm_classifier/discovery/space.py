"""The space in which unlabeled images are compared: the within-class metric of the labeled ones, strongly shrunk."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.neighbors.gallery import directions
from lmm_classifier.neighbors.metric import WithinClassScatter, apply_power_normalization, fit_scatter

SHRINKAGE = 0.9  # a weaker one fits the known labels better, and new labels worse
_BLOCK = 4096  # rows mapped at a time


@dataclass(frozen=True)
class DiscoverySpace:
    """Maps normalized rows to unit vectors whose cosine tells how likely two images have one label.

    Differences that are usual between images of one label count little, for labels that nobody named yet too.
    """

    scatter: WithinClassScatter
    shrinkage: float = SHRINKAGE

    @classmethod
    def of_examples(
        cls, embeddings: Float32Array, label_ids: IntArray, labels: int, shrinkage: float = SHRINKAGE
    ) -> DiscoverySpace:
        """Fit to normalized rows (N, d) of examples, whose label numbers (N,) are below `labels`."""
        return cls(fit_scatter(embeddings, label_ids, labels), shrinkage)

    @classmethod
    def of_unlabeled(cls, embeddings: Float32Array) -> DiscoverySpace:
        """Take normalized rows (n, d) where no label is known: only their mean is subtracted."""
        power_normalize, dim = bool((embeddings >= 0).all()), embeddings.shape[1]
        rooted = apply_power_normalization(embeddings, power_normalize)
        center = rooted.mean(axis=0, dtype=np.float64).astype(np.float32)
        no_axes, no_means = np.empty((dim, 0)), np.empty((0, dim))
        return cls(WithinClassScatter(power_normalize, center, no_axes, np.empty(0), 1, no_means))

    @single_threaded_blas
    def map(self, embeddings: Float32Array) -> Float32Array:
        """Return the unit vectors (n, d) of normalized rows (n, d)."""
        along, across = self._factors()
        axes = self.scatter.axes.astype(np.float32)
        more = (along - across).astype(np.float32)
        mapped = np.empty(embeddings.shape, np.float32)
        for start in range(0, len(embeddings), _BLOCK):
            block = apply_power_normalization(embeddings[start : start + _BLOCK], self.scatter.power_normalize)
            centered = (block - self.scatter.center).astype(np.float32)
            stretched = ((centered @ axes) * more) @ axes.T + np.float32(across) * centered
            mapped[start : start + len(block)] = directions(stretched)[0]
        return mapped

    def _factors(self) -> tuple[Float64Array, float]:
        """Return the factors (r,) along the axes, and the factor across them."""
        scatter = self.scatter
        spread = scatter.mean_variance
        if spread <= 0:
            return np.ones(scatter.axes.shape[1]), 1.0
        return scatter.scale(self.shrinkage), float(1 / np.sqrt(self.shrinkage * spread))
