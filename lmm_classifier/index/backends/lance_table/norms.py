"""Norms of the rows of a table in a metric, as a column: each is computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array
from lmm_classifier.core.rows import ColumnName, RowBlock
from lmm_classifier.index.backends.lance_table.datasets import arrow, translated
from lmm_classifier.index.backends.lance_table.finishing import mark_finished
from lmm_classifier.index.backends.lance_table.layout import ABOUT_VERSION, FINISHED, ROWS, part


def norm_column(metric: str, encoder: int) -> str:
    """Return the name of the column with the norms of the vectors of an encoder in a metric."""
    return f"norm_{encoder}_{hashlib.blake2b(metric.encode(), digest_size=8).hexdigest()}"


def _prefix(column: str) -> str:
    """Return what the names of the columns of the same encoder begin with."""
    return column[: column.rindex("_") + 1]


def with_norms(
    dataset: Any,
    source: str,
    blocks: Callable[[Sequence[ColumnName]], Iterator[RowBlock]],
    column: str,
    norms: Callable[[Float32Array], Float64Array],
) -> Any:
    """Return the version of a dataset that has this column of norms; it is made where it is not there."""
    if column in dataset.schema.names:
        return dataset
    types = arrow()
    schema = types.schema([types.field(column, types.float64())])

    def batches() -> Iterator[Any]:
        for block in blocks(("vectors",)):
            if block.vectors is not None:
                values = np.asarray(norms(block.vectors), np.float64)
                yield types.record_batch([types.array(values)], schema=schema)

    with translated(source):
        newest = _newest(dataset, source)
        if column in newest.schema.names:
            return newest
        newest.add_columns(types.RecordBatchReader.from_batches(schema, batches()))
        of_others = [name for name in newest.schema.names if name != column and name.startswith(_prefix(column))]
        if of_others:
            newest.drop_columns(of_others)
        mark_finished(newest)
    return newest


def _newest(dataset: Any, source: str) -> Any:
    """Return the newest version of the same rows: another encoder, or another program, may have added its column."""
    found = part(source, ROWS).open_if_there(FINISHED)
    about = ABOUT_VERSION.encode()
    if found is None or found.schema.metadata[about] != dataset.schema.metadata[about]:
        return dataset.checkout_version(dataset.version)
    return found
