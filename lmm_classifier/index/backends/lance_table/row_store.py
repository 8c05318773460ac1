"""The rows of a finished table behind `protocols.RowStore`: nothing that grows with their number is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.concurrency import cpu_count, threaded_map
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.rows import ColumnName, RowBlock, RowProducts, empty_rows
from lmm_classifier.index.backends.lance_table.about import About
from lmm_classifier.index.backends.lance_table.columns import hexadecimal, vectors_of
from lmm_classifier.index.backends.lance_table.datasets import translated
from lmm_classifier.index.backends.lance_table.derived import get_products, norm_column, with_norms
from lmm_classifier.index.backends.lance_table.finishing import finished, index_lists, index_name
from lmm_classifier.index.backends.lance_table.layout import SHA256, vector_column
from lmm_classifier.index.backends.row_ranges import ids_of_labels, label_starts, labels_of_rows, padded, require_rows
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.state import as_embeddings
from lmm_classifier.neighbors.brute_force import BruteForceSearch
from lmm_classifier.neighbors.rescoring import QueryRowPairs, dots

_ROWS = 8192  # in a block
_LISTED = 512  # content hashes in one condition
_ADDRESS = 32  # bits of a row's address for its place in a fragment; those above number the fragment
# Lists of an index that are searched for a query; between these numbers, half of them. Of 98 lists of 400,000 drawn
# rows, 16 had 86 % of the ten nearest rows, 32 had 98.6 % and 49 all of them. A list more takes about 0.1 ms.
_FEWEST_LISTS, _MOST_LISTS = 40, 256
_REFINED = 10  # so many rows are compared exactly for each that is wanted


class LanceRowStore:
    """One version of the rows of a table, for one encoder. The id of a row is its place, in the order of the labels.

    Labels with their counts and means are in memory; rows are read as they are asked for. Below 10,000 rows they are
    kept and each query is compared with all. Above, an index finds candidates, which are compared exactly.
    """

    def __init__(self, url: str, dataset: Any, about: About, encoder: int = 0, metric: str | None = None) -> None:
        self.url: str = url
        self.about: About = about
        self.encoder: int = encoder
        self._dataset, self._metric = dataset, metric
        self.label_names: Sequence[str] = about.label_names
        self.counts: IntArray = about.counts
        self.means: Float64Array = about.means[encoder]
        self._starts = label_starts(about.counts)
        self._dim = self.means.shape[1]

    @classmethod
    def open(cls, url: str, encoder: int = 0) -> LanceRowStore:
        """Open the finished rows of the table at `url`, with the vectors of one of its encoders.

        Raises:
            IndexFileError: there is no finished table, or its vectors are compared after a transform, which takes all
                of them in memory: `Index.open` does that.
            MissingExtraError: lance is not installed.
        """
        found = finished(url)
        if found is None:
            raise IndexFileError(f"There is no finished table at {url}. Build one, or finish the one that was begun.")
        dataset, about = found
        transform = about.manifest.encoders[encoder].transform
        if transform != "identity":
            raise IndexFileError(
                f"{url}: its vectors are compared after the transform {transform!r}, for which they must be in memory. "
                "Set retrieval.search to exact or ann."
            )
        return cls(url, dataset, about, encoder)

    def of_encoder(self, encoder: int) -> LanceRowStore:
        """Return the same version of the rows with the vectors of another encoder."""
        return LanceRowStore(self.url, self._dataset, self.about, encoder)

    def with_norms(
        self, metric: str, norms: Callable[[Float32Array], Float64Array], *, store: bool = True
    ) -> LanceRowStore:
        """Return the same rows with their norms in a metric, as a column, which is made where it is not there.

        It takes the place of a column of another metric.

        Args:
            metric: a name that no other metric has, such as a digest.
            norms: returns the norms (n,) of vectors (n, d) in that metric.
            store: whether the column may be made. Without it rows that do not have it are returned as they are.
        """
        if not store:
            is_there = norm_column(metric, self.encoder) in self._dataset.schema.names
            return LanceRowStore(self.url, self._dataset, self.about, self.encoder, metric) if is_there else self
        dataset = with_norms(self._dataset, self.url, self.blocks, norm_column(metric, self.encoder), norms)
        return LanceRowStore(self.url, dataset, self.about, self.encoder, metric)

    def sums(self) -> RowProducts | None:
        """Return sums over all rows, as the engine of a build made them; None where it did not."""
        return get_products(self.url, self.about.version).get(self.encoder)

    @property
    def has_norms(self) -> bool:
        """Whether rows have their norms in a metric."""
        return self._metric is not None

    @property
    def manifest(self) -> Manifest:
        """The manifest of the table."""
        return self.about.manifest

    def __len__(self) -> int:
        return int(self._starts[-1])

    @cached_property
    def version(self) -> str:
        """Identifies the rows, what was derived from them and the search."""
        return f"{self.about.version} {self.encoder} {self._index or 'exact'}"

    @cached_property
    def _index(self) -> str | None:
        """The identity of the index over the vectors; None where there is none."""
        with translated(self.url):
            indexes = {index.name: index for index in self._dataset.describe_indices()}
            found = indexes.get(index_name(self.encoder))
            return None if found is None else " ".join(str(segment.uuid) for segment in found.segments)

    @property
    def _lists(self) -> int:
        """How many lists of the index are searched: rows that no centroid stands for are scattered over many."""
        return min(max(index_lists(len(self)) // 2, _FEWEST_LISTS), _MOST_LISTS)

    @cached_property
    def _search(self) -> BruteForceSearch:
        rows = [block.vectors for block in self.blocks(("vectors",)) if block.vectors is not None]
        return BruteForceSearch(np.concatenate([np.empty((0, self._dim), np.float32), *rows]))

    @cached_property
    def _fragment_starts(self) -> IntArray:
        """The id of the first row of each fragment, by the number of the fragment."""
        fragments = {fragment.fragment_id: fragment.physical_rows for fragment in self._dataset.get_fragments()}
        starts, total = np.full(max(fragments, default=-1) + 1, -1, np.int64), 0
        for number, rows in fragments.items():  # in the order of the rows
            starts[number] = total
            total += rows
        return starts

    def nearest(self, queries: Float32Array, k: int) -> tuple[IntArray, Float64Array]:
        """Return ids (n, k) of the nearest rows of normalized queries (n, d), and their cosines."""
        if queries.ndim != 2 or queries.shape[1] != self._dim:
            raise ValueError(f"expected queries (n, {self._dim}), got {queries.shape}")
        if k < 1:
            raise ValueError(f"expected k of at least 1, got {k}")
        if self._index is None:
            return padded(*self._search.search(queries, k), k)
        threads = max(min(cpu_count(), len(queries)), 1)
        found = list(threaded_map(lambda query: self._nearest_of(query, k), queries, threads))
        ids = np.array([ids for ids, _ in found], np.int64).reshape(len(queries), k)
        cosines = np.array([cosines for _, cosines in found]).reshape(len(queries), k)
        return ids, cosines

    def _nearest_of(self, query: Float32Array, k: int) -> tuple[IntArray, Float64Array]:
        column = vector_column(self.encoder)
        search = {"column": column, "q": query, "k": k, "nprobes": self._lists, "refine_factor": _REFINED}
        with translated(self.url):
            found = self._dataset.to_table(nearest=search, columns=[column, "_distance"], with_row_address=True)
        vectors, ids = self._vectors(found[column]), self._ids(found["_rowaddr"].to_numpy())
        zeros = np.zeros(len(ids), np.int64)
        cosines = dots(vectors, query[None], zeros, np.arange(len(ids)))
        nearest, cosines = QueryRowPairs(1, zeros, ids, cosines).nearest(k)
        return nearest[0], cosines[0]

    def _ids(self, addresses: Any) -> IntArray:
        places = addresses.astype(np.int64)
        return np.asarray(self._fragment_starts[places >> _ADDRESS] + (places & ((1 << _ADDRESS) - 1)), np.int64)

    def rows_of_labels(
        self, label_ids: IntArray, columns: Sequence[ColumnName] = ("vectors",), most: int | None = None
    ) -> Iterator[RowBlock]:
        """Read all rows of some labels, in blocks, by id; at most `most` of each label: those of the lowest content."""
        ids = ids_of_labels(label_ids, self._starts, most)
        for start in range(0, len(ids), _ROWS):
            yield self.rows_of_ids(ids[start : start + _ROWS], columns)

    def rows_of_contents(self, contents: Sequence[str], columns: Sequence[ColumnName] = ("contents",)) -> RowBlock:
        """Read the rows whose images have one of these SHA-256, by id."""
        wanted = sorted({content for content in contents if _is_sha256(content)})
        found = [np.empty(0, np.int64)]
        for start in range(0, len(wanted), _LISTED):
            listed = ", ".join(f"X'{content}'" for content in wanted[start : start + _LISTED])
            with translated(self.url):
                rows = self._dataset.to_table(columns=[], filter=f"content IN ({listed})", with_row_address=True)
            found.append(self._ids(rows["_rowaddr"].to_numpy()))
        return self.rows_of_ids(np.sort(np.concatenate(found)), columns)

    def rows_of_ids(self, ids: IntArray, columns: Sequence[ColumnName]) -> RowBlock:
        """Read rows by their ids, in this order; raise KeyError where there is no such row."""
        require_rows(ids, len(self))
        places, stored = np.asarray(ids, np.int64), self._stored(columns)
        if not len(places):
            none = empty_rows(self._dim)
            return RowBlock(none.ids, none.label_ids, **{name: getattr(none, name) for name in stored})
        if not stored:
            return self._block(places, {})
        with translated(self.url):
            rows = self._dataset.take(places, columns=list(dict.fromkeys(stored.values())))
        return self._block(places, {name: rows[column] for name, column in stored.items()})

    def blocks(self, columns: Sequence[ColumnName]) -> Iterator[RowBlock]:
        """Read all rows once, in the order of label and content."""
        stored, start = self._stored(columns), 0
        if not stored:
            for first in range(0, len(self), _ROWS):
                yield self._block(np.arange(first, min(first + _ROWS, len(self))), {})
            return
        with translated(self.url):
            scan = self._dataset.scanner(
                columns=list(dict.fromkeys(stored.values())), batch_size=_ROWS, scan_in_order=True
            )
            for batch in scan.to_batches():
                values = {name: batch[column] for name, column in stored.items()}
                yield self._block(np.arange(start, start + batch.num_rows), values)
                start += batch.num_rows

    def _stored(self, columns: Sequence[ColumnName]) -> dict[str, str]:
        """Return the stored column of each that is asked for."""
        if "norms" in columns and self._metric is None:
            raise ValueError("these rows have no norms: no metric was given")
        names = {"vectors": vector_column(self.encoder), "contents": "content", "paths": "paths", "all_paths": "paths"}
        names["norms"] = norm_column(self._metric or "", self.encoder)
        return {name: names[name] for name in dict.fromkeys(columns)}

    def _block(self, ids: IntArray, stored: dict[str, Any]) -> RowBlock:
        """Return rows with these columns."""
        read: dict[str, Callable[[Any], Any]] = {
            "vectors": self._vectors,
            "contents": hexadecimal,
            "paths": lambda column: [paths[0] for paths in column.to_pylist()],
            "all_paths": lambda column: column.to_pylist(),
            "norms": lambda column: column.to_numpy(),
        }
        values = {name: read[name](column) for name, column in stored.items()}
        return RowBlock(ids, labels_of_rows(ids, self._starts), **values)

    def _vectors(self, column: Any) -> Float32Array:
        return as_embeddings(vectors_of(column, self._dim).astype(self.about.extras.dtype, copy=False))


def _is_sha256(text: str) -> bool:
    return len(text) == 2 * SHA256 and set(text) <= set("0123456789abcdef")
