"""What is derived from the rows of a table, once: norms in a metric, as a column, and sums, in their own dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, nest, unnest
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.rows import ColumnName, RowBlock, RowProducts
from lmm_classifier.index.backends.lance_table.datasets import arrow, translated
from lmm_classifier.index.backends.lance_table.finishing import mark_finished
from lmm_classifier.index.backends.lance_table.layout import ABOUT_VERSION, FINISHED, ROWS, STATISTICS, part
from lmm_classifier.index.backends.lance_table.named_arrays import arrays_of, put_arrays

_VERSION = "version"


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


def put_products(url: str, version: str, each: Mapping[int, RowProducts]) -> None:
    """Store sums by the place of their encoder; `version` is that of the description of the rows."""
    arrays = {_VERSION: np.array([version])}
    for encoder, products in each.items():
        arrays |= nest(f"encoder.{encoder}", products.to_arrays())
    put_arrays(part(url, STATISTICS), arrays)


def get_products(url: str, version: str) -> dict[int, RowProducts]:
    """Return the stored sums of the rows with this description, by the place of the encoder; none where others are."""
    place = part(url, STATISTICS)
    there = place.open_if_there()
    if there is None:
        return {}
    arrays = arrays_of(there, str(place))
    if _VERSION not in arrays or str(arrays[_VERSION][0]) != version:
        return {}
    found = dict[int, RowProducts]()
    for encoder in {int(name.split(".")[1]) for name in arrays if name != _VERSION}:
        try:
            found[encoder] = RowProducts.from_arrays(unnest(f"encoder.{encoder}", arrays))
        except (KeyError, ValueError) as error:
            raise IndexFileError(f"{place} is damaged: {error}. Delete it, and build again.") from None
    return found
