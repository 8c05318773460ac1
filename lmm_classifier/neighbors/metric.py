"""The within-class metric: a whitening in which differences between pictures of one label count for little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.linalg import ExactProduct, on_one_thread
from lmm_classifier.core.protocols import FloatArray, IntArray
from lmm_classifier.neighbors.gallery import Fold, Gallery, directions

Doubles = NDArray[np.float64]

_TINY = 1e-12
_BLOCK = 4096  # rows taken at a time


class WithinClassMetric:
    """Maps unit rows to a space where the pooled covariance within labels is the identity, nearly.

    z = x, or its signed square root where `root` (Perronnin, Sanchez & Mensink, 2010, "Improving the Fisher kernel"),
    of unit length, less the corpus mean; then z A^(1/2) with A = ((1 - shrinkage) S + shrinkage (tr S / d) I)^-1
    and S the pooled within-label covariance: the metric of linear discriminant analysis, Friedman (1989), "Regularized
    discriminant analysis", JASA 84(405). Rows that come out are not of unit length: their distances are Mahalanobis'.
    """

    def __init__(self, root: bool, centre: FloatArray, projection: FloatArray, shrinkage: float) -> None:
        self.shrinkage = shrinkage
        self.root = root
        self.centre = centre  # (d,)
        self.projection = projection  # (d, d)
        self._project = ExactProduct(projection)

    def whiten(self, rows: FloatArray) -> FloatArray:
        """Map unit rows (n, d) to rows (n, d); bit-identical for any split of the rows."""
        return self._project(prepared(rows, self.root) - self.centre)

    def equals(self, other: WithinClassMetric) -> bool:
        """Whether both map every row to the same bits."""
        if self is other:
            return True
        mine, others = self.state(), other.state()
        return all(np.array_equal(mine[name], others[name]) for name in mine)

    def state(self) -> Mapping[str, NDArray[np.generic]]:
        """The arrays that rebuild this metric."""
        return {
            "root": np.array([self.root]),
            "centre": self.centre,
            "projection": self.projection,
            "shrinkage": np.array([self.shrinkage]),
        }

    @classmethod
    def restore(cls, state: Mapping[str, NDArray[np.generic]]) -> WithinClassMetric:
        """Rebuild from `state`."""
        centre = np.asarray(state["centre"], np.float32)
        projection = np.ascontiguousarray(state["projection"], np.float32)
        if projection.shape != (len(centre), len(centre)):
            raise ValueError(f"centre {centre.shape} and projection {projection.shape} do not fit")
        return cls(bool(state["root"][0]), centre, projection, float(np.asarray(state["shrinkage"])[0]))


def prepared(rows: FloatArray, root: bool) -> FloatArray:
    """Take the signed square root of rows (n, d) if `root`, sign(x) sqrt(|x|), and bring them to unit length."""
    if not root:
        return rows
    rooted = np.sign(rows) * np.sqrt(np.abs(rows))
    lengths = np.sqrt(np.square(rooted, dtype=np.float64).sum(axis=1, keepdims=True))
    return np.asarray(rooted / np.maximum(lengths, _TINY), np.float32)


@dataclass(frozen=True)
class WithinClassScatter:
    """What a metric is made of, for any shrinkage: the spread within labels as axes and variances."""

    root: bool
    centre: FloatArray  # (d,)
    axes: Doubles  # (d, r) orthonormal; all examples lie in their span, seen from the centre
    variances: Doubles  # (r,)
    freedom: int  # degrees of freedom, N - C, at least 1
    means: Doubles  # (C, d) of the labels, as the rows are before the centre is taken off

    @property
    def mean_variance(self) -> float:
        """The unit of the shrinkage, tr S / d."""
        return float(self.variances.sum() / len(self.centre))

    def coordinates(self, units: FloatArray) -> FloatArray:
        """Unit rows (n, d) along the axes, (n, r): times `scale` they are whitened, but for a rotation."""
        axes = self.axes.astype(np.float32)
        along = np.empty((len(units), axes.shape[1]), np.float32)
        for start, block in _blocks(units):
            along[start : start + len(block)] = (prepared(block, self.root) - self.centre) @ axes
        return along

    @property
    def means_along(self) -> Doubles:
        """The means of the labels along the axes, (C, r)."""
        return np.asarray((self.means - self.centre) @ self.axes)

    def scale(self, shrinkage: float) -> Doubles:
        """What the metric of one shrinkage in (0, 1] multiplies each axis by, (r,)."""
        shrinkage, spread = self._usable(shrinkage)
        return np.asarray(1 / np.sqrt((1 - shrinkage) * self.variances + shrinkage * spread))

    def _usable(self, shrinkage: float) -> tuple[float, float]:
        spread = self.mean_variance
        if spread < _TINY:  # no two pictures of one label differ: nothing is known of what to discount
            return 1.0, 1.0
        return shrinkage, spread

    @on_one_thread
    def metric(self, shrinkage: float) -> WithinClassMetric:
        """Return the metric for one shrinkage in (0, 1]."""
        along = self.scale(shrinkage)
        shrinkage, spread = self._usable(shrinkage)
        across = 1 / np.sqrt(shrinkage * spread)
        projection = (self.axes * (along - across)) @ self.axes.T
        projection[np.diag_indices_from(projection)] += across
        return WithinClassMetric(self.root, self.centre, np.asarray(projection, np.float32), shrinkage)


@on_one_thread
def fit_scatter(units: FloatArray, label_ids: IntArray, labels: int, root: bool | None = None) -> WithinClassScatter:
    """Measure the pooled scatter within labels of unit rows (N, d), in blocks and in float64.

    `root` None takes the square root where no number of the corpus is negative: there it helps, elsewhere not.
    With fewer rows than numbers the axes are found in the dual, the (N, N) Gram matrix of the deviations.
    """
    if root is None:
        root = all((block >= 0).all() for _, block in _blocks(units))
    sums = np.zeros((labels, units.shape[1]))
    for start, block in _blocks(units):
        np.add.at(sums, label_ids[start : start + len(block)], prepared(block, root).astype(np.float64))
    counts = np.bincount(label_ids, minlength=labels)
    means = sums / np.maximum(counts, 1)[:, None]
    freedom = max(len(units) - int((counts > 0).sum()), 1)
    deviations = (
        prepared(block, root).astype(np.float64) - means[label_ids[start : start + len(block)]]
        for start, block in _blocks(units)
    )
    find = _axes_of_few if len(units) < units.shape[1] else _axes_of_many
    axes, squares = find(deviations, units.shape[1])
    centre = (sums.sum(axis=0) / len(units)).astype(np.float32)
    if axes.shape[1] < units.shape[1]:
        axes, squares = _with_axes_of(means - centre, axes, squares)
    return WithinClassScatter(root, centre, axes, squares / freedom, freedom, means)


def _axes_of_many(deviations: Iterator[Doubles], width: int) -> tuple[Doubles, Doubles]:
    scatter = np.zeros((width, width))
    for block in deviations:
        scatter += block.T @ block
    squares, axes = np.linalg.eigh(scatter)
    return axes, np.maximum(squares, 0)


def _axes_of_few(deviations: Iterator[Doubles], width: int) -> tuple[Doubles, Doubles]:
    rows = np.concatenate([*deviations, np.empty((0, width))])
    squares, vectors = np.linalg.eigh(rows @ rows.T)
    keep = squares > _TINY * max(float(squares.max(initial=0)), _TINY)
    return rows.T @ (vectors[:, keep] / np.sqrt(squares[keep])), squares[keep]


def _with_axes_of(means: Doubles, axes: Doubles, squares: Doubles) -> tuple[Doubles, Doubles]:
    """Add the axes, without any spread, that the means (C, d) of the labels take beside those of the deviations."""
    beside = means - (means @ axes) @ axes.T
    lengths, directions = np.linalg.svd(beside, full_matrices=False)[1:]
    more = directions[lengths > 1e-6].T
    return np.hstack([axes, more]), np.concatenate([squares, np.zeros(more.shape[1])])


def _blocks(rows: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    for start in range(0, len(rows), _BLOCK):
        yield start, rows[start : start + _BLOCK]


# Rows from which the metric is folded into the queries. It saves a second matrix, 4.6 GB for a million rows of 1,152
# numbers, and costs two products of (n, d) with (d, d) in float64, about 0.1 ms a query: not worth it for a few rows.
FOLD_FROM = 50_000


def whitened(
    metric: WithinClassMetric,
    gallery: Gallery,
    norms: Doubles | None = None,
    former: Gallery | None = None,
    rows_then: Sequence[int] = (),
) -> Gallery:
    """The gallery in the space of the metric.

    A large one is folded: the metric goes into the queries, and the rows serve as they are; then `norms` (N,), the
    lengths of its rows in that space, are computed if they are not known. Of another one `rows_then` (N,) says where
    its rows are in `former`, a gallery in that space already; -1 for new ones.
    """
    if is_folded(metric, gallery):
        norms = lengths_in(metric, gallery) if norms is None else norms
        return gallery.folded(Fold(metric.centre, metric.projection, norms))
    then = np.asarray(rows_then, np.int64) if former and not former.fold else np.full(len(gallery.units), -1)
    known, new = np.flatnonzero(then >= 0), np.flatnonzero(then < 0)
    units, lengths = np.empty(gallery.units.shape, np.float32), np.ones(len(then))
    if former is not None and former.lengths is not None:
        units[known], lengths[known] = former.units[then[known]], former.lengths[then[known]]
    for start in range(0, len(new), _BLOCK):
        part = new[start : start + _BLOCK]
        units[part], lengths[part] = directions(metric.whiten(gallery.units[part]))
    return Gallery(units, gallery.label_ids, gallery.labels, lengths)


def is_folded(metric: WithinClassMetric, gallery: Gallery) -> bool:
    """Whether the metric is folded into the queries instead of keeping a second matrix."""
    return len(gallery.units) >= FOLD_FROM and not metric.root


def lengths_in(metric: WithinClassMetric, gallery: Gallery, known: Doubles | None = None) -> Doubles:
    """Lengths (N,) of the rows in the space of the metric; what is `known`, and not NaN, is not computed."""
    lengths = np.full(len(gallery.units), np.nan) if known is None else known.copy()
    missing = np.flatnonzero(np.isnan(lengths))
    for start in range(0, len(missing), _BLOCK):
        part = missing[start : start + _BLOCK]
        lengths[part] = directions(metric.whiten(gallery.units[part]))[1]
    return lengths
