"""The within-class metric: a whitening in which differences between images of one label count little.

It is also known as within-class covariance normalization (WCCN, Hatch, Kajarekar & Stolcke, 2006).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray, as_slice
from lmm_classifier.core.linalg import ReproducibleMatmul, single_threaded_blas
from lmm_classifier.neighbors.gallery import Gallery, ProjectedMetric, directions

Rows = TypeVar("Rows", Float32Array, IntArray)

_TINY = 1e-12
_BLOCK = 4096  # rows taken at a time


class WithinClassMetric:
    """A map to a space where the pooled covariance within labels is approximately the identity.

    n rows, d numbers in a row. z = x, or its signed square root where `power_normalize` (Perronnin, Sanchez & Mensink,
    2010, "Improving the Fisher kernel"), normalized, minus the dataset mean. The result is z A^(1/2) with
    A = ((1 - shrinkage) S + shrinkage (tr S / d) I)^-1 and the pooled within-label covariance S. This is the metric of
    linear discriminant analysis (Friedman, 1989, "Regularized discriminant analysis", JASA 84(405); scikit-learn's
    `LinearDiscriminantAnalysis` with `shrinkage`). The mapped rows are not normalized: their distances are Mahalanobis
    distances.
    """

    def __init__(self, power_normalize: bool, center: Float32Array, projection: Float32Array, shrinkage: float) -> None:
        self.shrinkage = shrinkage
        self.power_normalize = power_normalize
        self.center = center  # (d,)
        self.projection = projection  # (d, d)
        self._project = ReproducibleMatmul(projection)

    def whiten(self, rows: Float32Array) -> Float32Array:
        """Map normalized rows (n, d) to rows (n, d); bit-identical for any split of the rows."""
        return self._project(apply_power_normalization(rows, self.power_normalize) - self.center)

    def norms(self, rows: Float32Array) -> Float64Array:
        """Return the norms (n,) that normalized rows (n, d) have in the metric; bit-identical for any split."""
        return np.concatenate([np.empty(0), *(directions(self.whiten(block))[1] for _, block in _blocks(rows))])

    @cached_property
    def digest(self) -> str:
        """A name that only a metric has that maps every row to the same bits."""
        digest = hashlib.blake2b(digest_size=16)
        for name, array in sorted(self.to_arrays().items()):
            digest.update(f"{name} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def equals(self, other: WithinClassMetric) -> bool:
        """Return whether both map every row to the same bits."""
        return self is other or self.digest == other.digest

    def to_arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """Return the arrays from which `from_arrays` rebuilds this metric."""
        return {
            "power_normalize": np.array([self.power_normalize]),
            "center": self.center,
            "projection": self.projection,
            "shrinkage": np.array([self.shrinkage]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> WithinClassMetric:
        """Rebuild a metric from `to_arrays`; raises ValueError if the shapes do not fit."""
        center = np.asarray(arrays["center"], np.float32)
        projection = np.ascontiguousarray(arrays["projection"], np.float32)
        if projection.shape != (len(center), len(center)):
            raise ValueError(f"the center {center.shape} and the projection {projection.shape} do not fit")
        return cls(
            bool(arrays["power_normalize"].item()), center, projection, float(np.asarray(arrays["shrinkage"]).item())
        )


def apply_power_normalization(rows: Float32Array, power_normalize: bool) -> Float32Array:
    """Return rows (n, d), or if `power_normalize` their signed square roots sign(x) sqrt(|x|), normalized."""
    if not power_normalize:
        return rows
    rooted = np.sign(rows) * np.sqrt(np.abs(rows))
    norms = np.sqrt(np.square(rooted, dtype=np.float64).sum(axis=1, keepdims=True))
    return np.asarray(rooted / np.maximum(norms, _TINY), np.float32)


@dataclass(frozen=True)
class WithinClassScatter:
    """The scatter within labels as axes and variances; it gives a metric for any shrinkage.

    C labels, d numbers in a row, r axes.
    """

    power_normalize: bool
    center: Float32Array  # (d,)
    axes: Float64Array  # (d, r) orthonormal; all examples minus the center lie in their span
    variances: Float64Array  # (r,)
    freedom: int  # degrees of freedom, N - C, at least 1
    means: Float64Array  # (C, d) of the labels, before the center is subtracted

    @property
    def mean_variance(self) -> float:
        """The unit of the shrinkage, tr S / d."""
        return float(self.variances.sum() / len(self.center))

    def coordinates(self, embeddings: Float32Array) -> Float32Array:
        """Return the coordinates (n, r) of normalized rows (n, d) along the axes.

        Times `scale` they are the rows in the metric, up to a rotation.
        """
        axes = self.axes.astype(np.float32)
        coordinates = np.empty((len(embeddings), axes.shape[1]), np.float32)
        for start, block in _blocks(embeddings):
            centered = apply_power_normalization(block, self.power_normalize) - self.center
            coordinates[start : start + len(block)] = centered @ axes
        return coordinates

    @cached_property
    def means_along(self) -> Float64Array:
        """The means of the labels along the axes, (C, r)."""
        return np.asarray((self.means - self.center) @ self.axes)

    def scale(self, shrinkage: float) -> Float64Array:
        """Return the factors (r,) by which the metric of one shrinkage in (0, 1] multiplies the axes."""
        shrinkage, spread = self._usable(shrinkage)
        return np.asarray(1 / np.sqrt((1 - shrinkage) * self.variances + shrinkage * spread))

    def _usable(self, shrinkage: float) -> tuple[float, float]:
        spread = self.mean_variance
        if spread < _TINY:  # no two images of one label differ, so the scatter is unknown
            return 1.0, 1.0
        return shrinkage, spread

    @single_threaded_blas
    def metric(self, shrinkage: float) -> WithinClassMetric:
        """Return the metric for one shrinkage in (0, 1]."""
        along = self.scale(shrinkage)
        shrinkage, spread = self._usable(shrinkage)
        across = 1 / np.sqrt(shrinkage * spread)
        projection = (self.axes * (along - across)) @ self.axes.T
        projection[np.diag_indices_from(projection)] += across
        return WithinClassMetric(self.power_normalize, self.center, np.asarray(projection, np.float32), shrinkage)


@single_threaded_blas
def fit_scatter(
    embeddings: Float32Array, label_ids: IntArray, labels: int, power_normalize: bool | None = None
) -> WithinClassScatter:
    """Measure the pooled scatter within labels, in blocks and in float64.

    Args:
        embeddings: normalized rows (N, d).
        label_ids: (N,) numbers below `labels`.
        labels: C.
        power_normalize: whether to take the signed square root. None takes it where no number of the dataset is
            negative: there it helps, elsewhere it does not.
    """
    if power_normalize is None:
        power_normalize = all((block >= 0).all() for _, block in _blocks(embeddings))
    sums = np.zeros((labels, embeddings.shape[1]))
    for ids, rows in _float64_blocks(embeddings, label_ids, power_normalize):
        np.add.at(sums, ids, rows)
    counts = np.bincount(label_ids, minlength=labels)
    means = sums / np.maximum(counts, 1)[:, None]
    freedom = max(len(embeddings) - int((counts > 0).sum()), 1)
    deviations = (rows - means[ids] for ids, rows in _float64_blocks(embeddings, label_ids, power_normalize))
    center = (sums.sum(axis=0) / len(embeddings)).astype(np.float32)
    return scatter_of(deviations, len(embeddings), freedom, means, center, power_normalize)


@single_threaded_blas
def scatter_of(
    deviations: Iterator[Float64Array],
    count: int,
    freedom: int,
    means: Float64Array,
    center: Float32Array,
    power_normalize: bool,
) -> WithinClassScatter:
    """Return the scatter that deviations from the means of labels have.

    Args:
        deviations: blocks (b, d) of them.
        count: how many there are.
        freedom: their degrees of freedom.
        means: of the labels, (C, d).
        center: what the metric subtracts from a row, (d,).
        power_normalize: whether rows are signed square roots.
    """
    find_axes = _axes_by_gram_matrix if count < len(center) else _axes_by_scatter_matrix
    axes, squares = find_axes(deviations, len(center))
    if axes.shape[1] < len(center):
        axes, squares = _with_axes_of(means - center, axes, squares)
    return WithinClassScatter(power_normalize, center, axes, squares / freedom, freedom, means)


def _float64_blocks(
    embeddings: Float32Array, label_ids: IntArray, power_normalize: bool
) -> Iterator[tuple[IntArray, Float64Array]]:
    """Yield label numbers (b,) and rows (b, d) in float64, with square roots if `power_normalize`."""
    for start, block in _blocks(embeddings):
        rows = apply_power_normalization(block, power_normalize)
        yield label_ids[start : start + len(block)], rows.astype(np.float64)


def _axes_by_scatter_matrix(deviations: Iterator[Float64Array], width: int) -> tuple[Float64Array, Float64Array]:
    """Return the axes of deviations (N, d) in columns, and the sums of squares along them, from the (d, d) matrix."""
    scatter = np.zeros((width, width))
    for block in deviations:
        scatter += block.T @ block
    squares, axes = np.linalg.eigh(scatter)
    return axes, np.maximum(squares, 0)


def _axes_by_gram_matrix(deviations: Iterator[Float64Array], width: int) -> tuple[Float64Array, Float64Array]:
    """Return the same from the (N, N) matrix, which is smaller where there are fewer rows than numbers in a row."""
    rows = np.concatenate([*deviations, np.empty((0, width))])
    squares, vectors = np.linalg.eigh(rows @ rows.T)
    is_axis = squares > _TINY * max(float(squares.max(initial=0)), _TINY)
    return rows.T @ (vectors[:, is_axis] / np.sqrt(squares[is_axis])), squares[is_axis]


def _with_axes_of(means: Float64Array, axes: Float64Array, squares: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Add the axes that the means (C, d) of the labels need in addition; deviations along them are 0."""
    rest = means - (means @ axes) @ axes.T
    norms, directions = np.linalg.svd(rest, full_matrices=False)[1:]
    more = directions[norms > 1e-6].T
    return np.hstack([axes, more]), np.concatenate([squares, np.zeros(more.shape[1])])


def _blocks(rows: Rows) -> Iterator[tuple[int, Rows]]:
    for start in range(0, len(rows), _BLOCK):
        yield start, rows[start : start + _BLOCK]


# From so many rows on, the metric is applied to the queries. It saves a second matrix, 4.6 GB for a million rows of
# 1,152 numbers. It costs two products of (n, d) with (d, d) in float64, about 0.1 ms a query: too much for a few rows.
PROJECT_FROM = 50_000


def gallery_in_metric(
    metric: WithinClassMetric,
    gallery: Gallery,
    norms: Float64Array | None = None,
    former: Gallery | None = None,
    former_rows: Sequence[int] = (),
) -> Gallery:
    """Return the gallery in the space of the metric.

    In a large gallery the metric is applied to the queries and the rows stay as they are.

    Args:
        metric: the metric.
        gallery: N rows.
        norms: (N,) of the rows in the metric, where a large gallery's are known.
        former: a gallery that is in the metric already.
        former_rows: (N,) where each row is in `former`; -1 for new rows.
    """
    if is_projected(metric, gallery):
        norms = norms_in(metric, gallery) if norms is None else norms
        return gallery.with_metric_in_query(ProjectedMetric(metric.center, metric.projection, norms))
    places = np.full(len(gallery.embeddings), -1)
    if former is not None and former.projected is None:
        places = np.asarray(former_rows, np.int64)
    known, new = np.flatnonzero(places >= 0), np.flatnonzero(places < 0)
    embeddings, norms = np.empty(gallery.embeddings.shape, np.float32), np.ones(len(places))
    if former is not None and former.norms is not None:
        norms[known] = former.norms[places[known]]
        for start in range(0, len(known), _BLOCK):
            part = known[start : start + _BLOCK]
            embeddings[as_slice(part)] = former.embeddings[as_slice(places[part])]
    for start in range(0, len(new), _BLOCK):
        part = new[start : start + _BLOCK]
        embeddings[part], norms[part] = directions(metric.whiten(gallery.embeddings[part]))
    mapped = Gallery(embeddings, gallery.label_ids, gallery.labels, norms)
    if former is not None and former.projected is None:
        mapped.take_sums(former, former_rows)
    return mapped


def is_projected(metric: WithinClassMetric, gallery: Gallery) -> bool:
    """Return whether the metric is applied to the queries, so that no second matrix is stored."""
    return len(gallery.embeddings) >= PROJECT_FROM and not metric.power_normalize


def norms_in(metric: WithinClassMetric, gallery: Gallery, known: Float64Array | None = None) -> Float64Array:
    """Return the norms (N,) of the rows in the metric; `known` norms that are not NaN are not computed again."""
    norms = np.full(len(gallery.embeddings), np.nan) if known is None else known.copy()
    missing = np.flatnonzero(np.isnan(norms))
    for _, part in _blocks(missing):
        norms[part] = metric.norms(gallery.embeddings[part])
    return norms
