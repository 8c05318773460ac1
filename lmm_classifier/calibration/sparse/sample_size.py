"""How many examples of an index are held out, and which."""

from __future__ import annotations

from dataclasses import dataclass

from lmm_classifier.calibration.rule_fitting import default_sample_size, densely, rows_for_shrinkage, sample_rows
from lmm_classifier.calibration.sparse.sampling import (
    MOST_ROWS,
    LowestContents,
    lowest_contents,
    rows_through_shortlist,
    without_copies,
)
from lmm_classifier.core.arrays import IntArray
from lmm_classifier.index.vector_index import Index


@dataclass(frozen=True)
class SampleSize:
    """How many examples to hold out, and whether their scores may be sparse."""

    most: int | LowestContents | None = None
    sparse: bool = False

    def sample(self, index: Index, by_graph: bool) -> IntArray:
        """Return the rows to hold out. Through a graph their cost does not depend on the size of the index."""
        labels, most = index.gallery.labels, self.most
        by_content = by_graph or isinstance(most, LowestContents)
        if most is None:
            most = MOST_ROWS if by_graph else default_sample_size(len(index))
        most = most.most if isinstance(most, LowestContents) else most
        most = min(most, rows_through_shortlist(labels)) if self.sparse else densely(most, labels)
        rows = lowest_contents(index.hashes, most) if by_content else sample_rows(len(index), most)
        return without_copies(index.hashes, index.label_ids, rows)

    def judges(self, index: Index) -> IntArray:
        """Return the rows that choose the metric."""
        most = rows_for_shrinkage(index.gallery.labels)
        by_content = isinstance(self.most, LowestContents)
        return lowest_contents(index.hashes, most) if by_content else sample_rows(len(index), most)
