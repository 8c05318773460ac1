"""The statistics of each bucket of rows: written by the worker that sorted it, and added up by who started the work.

A part is some megabytes whatever the rows, and there are thousands of parts. So workers write them to a dataset, and
one at a time is read in the order of the buckets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmm_classifier.core.arrays import Arrays, nest, unnest
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.rows import RowStatistics
from lmm_classifier.index.backends.lance_table.datasets import (
    fragment_from_json,
    fragment_to_json,
    translated,
)
from lmm_classifier.index.backends.lance_table.layout import STATISTICS, part
from lmm_classifier.index.backends.lance_table.named_arrays import arrays_from_rows, arrays_schema, rows_of_arrays
from lmm_classifier.neighbors.row_statistics import PartStatistics, StatisticsSum

Fragments = list[dict[str, Any]]  # files that belong to no version yet


def write_part(url: str, of_encoders: Sequence[PartStatistics]) -> Fragments:
    """Write the statistics of a bucket, of each encoder; no reader sees them yet."""
    arrays: dict[str, Any] = {}
    for encoder, statistics in enumerate(of_encoders):
        arrays |= nest(str(encoder), statistics.to_arrays())
    fragments = part(url, STATISTICS).write_fragments(rows_of_arrays(arrays), arrays_schema())
    return [fragment_to_json(fragment) for fragment in fragments]


def add_up_parts(url: str, parts: Sequence[Fragments], labels: int, dims: Sequence[int]) -> list[RowStatistics]:
    """Return the statistics of all rows, of each encoder.

    Args:
        url: of the table.
        parts: of each bucket, in the order of the rows.
        labels: C.
        dims: numbers in a vector of each encoder.

    Raises:
        IndexFileError: a part cannot be read.
    """
    location = part(url, STATISTICS)
    dataset = location.overwrite(arrays_schema(), [fragment_from_json(values) for files in parts for values in files])
    totals = [StatisticsSum(labels, dim) for dim in dims]
    with translated(str(location)):
        fragments = dataset.get_fragments()
    if len(fragments) != sum(map(len, parts)):
        raise IndexFileError(f"{location} has {len(fragments)} of {sum(map(len, parts))} files. Finish it again.")
    start = 0
    for number, files in enumerate(parts):
        of_bucket = _arrays_of(fragments[start : start + len(files)], str(location))
        start += len(files)
        for encoder, total in enumerate(totals):
            total.add(f"{number:012}", PartStatistics.from_arrays(unnest(str(encoder), of_bucket)))
    return [total.result() for total in totals]


def _arrays_of(fragments: Sequence[Any], source: str) -> Arrays:
    with translated(source):
        rows = [row for fragment in fragments for row in fragment.to_table().to_pylist()]
    return arrays_from_rows(rows, source)
