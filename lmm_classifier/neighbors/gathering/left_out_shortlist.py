"""Exact leave-one-out through a shortlist: the formulas of `leave_one_out` on the rows that were gathered.

An answer that compares an image with some rows only must be calibrated by the same comparison. Otherwise the fitted
temperatures and thresholds are those of another program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.neighbors.gallery import Gallery, directions
from lmm_classifier.neighbors.gathering.gathered import GatheredSimilarities, RowsInSpace, UnreadLabels
from lmm_classifier.neighbors.leave_one_out import Downdate, DowndateTerms
from lmm_classifier.neighbors.rescoring import QueryRowPairs, number_rows
from lmm_classifier.neighbors.shortlist import rows_of_nearest_labels

_TINY = 1e-30
_BLOCK = 256  # examples at a time
_MOST_AT_ONCE = 1 << 22  # examples times labels at a time: 34 MB in float64

FindRows = Callable[[IntArray], Sequence[IntArray]]  # rows (b,) -> the rows near each, in any order


@dataclass(frozen=True)
class LeftOutPairs:
    """A block of b examples, each left out, and P pairs of them with other rows of one space."""

    terms: DowndateTerms
    z: Float64Array  # (b, e) the examples in this space, not normalized

    @classmethod
    def of(cls, removal: Downdate, z: Float64Array, own: IntArray) -> LeftOutPairs:
        """Leave examples z (b, e) out of their labels `own` (b,)."""
        return cls(DowndateTerms.of(removal, z, own), z)

    def cosines(self, space: RowsInSpace, examples: IntArray, rows: IntArray) -> Float64Array:
        """Return the cosines (P,) of pairs of an example and a row; products are in float32, as in `leave_one_out`."""
        terms, s = self.terms, self.terms.removal.shift
        z_r, r_r = space.fast_products(self.z, examples, rows), space.squares(rows)
        z_z, gain, u_z = terms.z_z[examples], terms.gain[examples], terms.u_z[examples]
        squares = r_r + 2 * s * z_r + s * s * z_z
        top = z_r + s * z_z
        if terms.gain.any():
            labels, places = np.unique(terms.own, return_inverse=True)
            u_r = z_r - space.fast_products(terms.removal.means[labels], places[examples], rows) + s * u_z
            top = top + gain * u_z * u_r
            squares = squares + gain * u_r**2
        squares = np.maximum(squares * (z_z + gain * u_z**2), _TINY)
        return np.clip(top / np.sqrt(squares), -1, 1)


class LeftOutShortlist:
    """Leaves out rows of a gallery one by one, and compares each with the rows of a shortlist.

    It is the sibling of `ShortlistSimilarities`: the same rows are added to the shortlist.

    Args:
        gallery: N rows, in the space of the index or in the metric.
        downdate: (1 - shrinkage) / freedom of the metric, 0 without one.
        centered: whether the dataset mean was subtracted from the rows.
        unread: what is put for labels without a row on the shortlist.
    """

    def __init__(
        self, gallery: Gallery, downdate: float = 0.0, centered: bool = False, unread: UnreadLabels | None = None
    ) -> None:
        self._gallery, self._unread = gallery, unread or UnreadLabels()
        self._removal = Downdate.of(gallery.counts, gallery.means, downdate, centered)
        norms = gallery.norms if gallery.projected is None else gallery.projected.norms
        self._space = RowsInSpace(gallery.embeddings, norms, gallery.projected)

    def compare(self, numbers: IntArray, nearby: Sequence[IntArray]) -> GatheredSimilarities:
        """Compare the rows `numbers` (b,), each without itself, with the rows `nearby` and those of likely labels."""
        gallery = self._gallery
        z = gallery.rows(numbers)
        left_out = LeftOutPairs.of(self._removal, z, gallery.label_ids[numbers])
        cosines, distances = left_out.terms.to_means()
        lists = [
            np.setdiff1d(np.union1d(rows, rows_of_nearest_labels(gallery, to_means)), [number])
            for number, rows, to_means in zip(numbers, nearby, cosines)
        ]
        examples, rows = number_rows(lists)
        found = QueryRowPairs(len(numbers), examples, rows, left_out.cosines(self._space, examples, rows))
        embeddings, _ = directions(np.asarray(z, np.float32))
        return GatheredSimilarities(embeddings, found, gallery.label_ids[rows], cosines, distances, self._unread)


def left_out_blocks(
    plain: LeftOutShortlist, in_metric: LeftOutShortlist, find_rows: FindRows, rows: IntArray, labels: int
) -> Iterator[tuple[IntArray, GatheredSimilarities, GatheredSimilarities]]:
    """Yield rows (b,) with their similarities in both spaces, each row left out of a gallery of `labels` labels."""
    size = max(min(_BLOCK, _MOST_AT_ONCE // max(labels, 1)), 1)
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        nearby = find_rows(block)
        yield block, plain.compare(block, nearby), in_metric.compare(block, nearby)
