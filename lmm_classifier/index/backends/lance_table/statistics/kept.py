"""The statistics of a finished table: kept with its version, or made from its rows where they are not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray, nest, unnest
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.rows import RowStatistics, RowSums
from lmm_classifier.index.backends.lance_table.about import About
from lmm_classifier.index.backends.lance_table.columns import hexadecimal, vectors_of
from lmm_classifier.index.backends.lance_table.datasets import translated
from lmm_classifier.index.backends.lance_table.layout import STATISTICS, part, vector_column
from lmm_classifier.index.backends.lance_table.named_arrays import get_arrays, put_arrays
from lmm_classifier.index.contents import Array
from lmm_classifier.index.storage.state import as_embeddings
from lmm_classifier.neighbors.row_statistics import PartStatistics, StatisticsSum


def put_statistics(url: str, of_encoders: Sequence[RowStatistics]) -> int:
    """Store the statistics of all rows, but for what the description of the table has too; return their version."""
    arrays: dict[str, Array] = {}
    for encoder, statistics in enumerate(of_encoders):
        arrays |= nest(str(encoder), _to_arrays(statistics))
    return put_arrays(part(url, STATISTICS), arrays)


def statistics_of(url: str, dataset: Any, about: About, encoder: int) -> RowStatistics:
    """Return the statistics of an opened version of a table, of one encoder.

    They are read. Where the version was finished without them, its rows are: file by file, as workers would.

    Raises:
        IndexFileError: they are damaged, or cannot be read.
    """
    if not about.statistics:
        return _made(url, dataset, about, encoder)
    location = part(url, STATISTICS)
    arrays = unnest(str(encoder), get_arrays(location, about.statistics))
    return _from_arrays(arrays, about.counts, about.means[encoder], str(location))


def _to_arrays(statistics: RowStatistics) -> dict[str, Array]:
    arrays: dict[str, Array] = {"products": statistics.plain.products, "lowest": statistics.lowest}
    if statistics.rooted is not None:
        arrays |= {"rooted_sums": statistics.rooted.sums, "rooted_products": statistics.rooted.products}
    return arrays


def _from_arrays(arrays: Mapping[str, Array], counts: IntArray, means: Float64Array, source: str) -> RowStatistics:
    labels, width = means.shape
    shapes = {"products": (width, width), "rooted_sums": (labels, width), "rooted_products": (width, width)}
    names = set(shapes) if "rooted_sums" in arrays else {"products"}
    if not {*names, "lowest"} <= arrays.keys() or any(arrays[name].shape != shapes[name] for name in names):
        raise IndexFileError(f"{source}: the statistics do not fit the {labels} labels of the table. Build it again.")
    plain = RowSums(means * counts[:, None], np.asarray(arrays["products"], np.float64))
    rooted = RowSums(arrays["rooted_sums"], arrays["rooted_products"]) if "rooted_sums" in arrays else None
    return RowStatistics(counts, plain, rooted, np.asarray(arrays["lowest"], np.int64))


def _made(url: str, dataset: Any, about: About, encoder: int) -> RowStatistics:
    column, (labels, width) = vector_column(encoder), about.means[encoder].shape
    total = StatisticsSum(labels, width)
    for number, fragment in enumerate(dataset.get_fragments()):
        with translated(url):
            rows = fragment.to_table(columns=["label", "content", column])
        vectors = as_embeddings(vectors_of(rows[column], width).astype(about.extras.dtype, copy=False))
        label_ids = rows["label"].to_numpy().astype(np.int64)
        total.add(f"{number:012}", PartStatistics.of(vectors, label_ids, hexadecimal(rows["content"])))
    return total.result()
