"""Rows of a store that is far away: vectors and norms that were read once are in files of this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.index_location import SCHEMES
from lmm_classifier.core.protocols import RowStore
from lmm_classifier.core.rows import ColumnName, RowBlock, RowProducts
from lmm_classifier.core.user_cache import user_cache
from lmm_classifier.index.backends.row_pages import RowPages
from lmm_classifier.index.backends.row_ranges import ids_of_labels, label_starts, labels_of_rows, require_rows

_PAGE_BYTES = 1 << 20  # of the vectors of a page, at most
_AT_ONCE = 64  # pages that are read from the store together
_ROWS = 8192  # in a block
_FOLDER = "rows"  # in the user's cache


def rows_near_here(store: RowStore, url: str) -> RowStore:
    """Return the rows of the table at `url`; those of an object store through pages in the user's cache."""
    cache = user_cache()
    if cache is None or url.partition("://")[0] not in SCHEMES:
        return store
    return CachedRowStore(store, RowPages(cache / _FOLDER), url)


class CachedRowStore:
    """The rows of another store, whose ids are their places in the order of the labels.

    What is asked for by label or by id is read in pages of consecutive rows, and kept. The search, contents and paths,
    and a reading of all rows, go to the store.

    Args:
        store: gives the rows.
        pages: keeps them.
        place: names the store, so that pages of another one are never taken for its own.
        metric: whose norms the store has; None: it has none.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from lmm_classifier import Index
        >>> from lmm_classifier.index.backends.cached_rows import CachedRowStore
        >>> from lmm_classifier.index.backends.memory_rows import MemoryRowStore
        >>> from lmm_classifier.index.backends.row_pages import RowPages
        >>> rows = MemoryRowStore(Index.from_vectors(np.eye(3), ["cat", "dog", "cat"]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cached = CachedRowStore(rows, RowPages(Path(folder)), "memory")
        ...     cached.rows_of_ids(np.array([2]), ("vectors",)).label_ids.tolist()
        [1]
    """

    def __init__(self, store: RowStore, pages: RowPages, place: str, metric: str | None = None) -> None:
        self.store: RowStore = store
        self.version: str = store.version
        self.label_names: Sequence[str] = store.label_names
        self.counts: IntArray = store.counts
        self.means: Float64Array = store.means
        self._pages, self._place, self._metric = pages, place, metric
        self._starts = label_starts(store.counts)
        self._dim = store.means.shape[1]
        self._page_rows = max(_PAGE_BYTES // (4 * max(self._dim, 1)), 1)

    def with_norms(
        self, metric: str, norms: Callable[[Float32Array], Float64Array], *, store: bool = True
    ) -> CachedRowStore:
        """Return the same rows with their norms in a metric, as the store itself does."""
        with_norms = self.store.with_norms(metric, norms, store=store)
        return CachedRowStore(with_norms, self._pages, self._place, metric if with_norms.has_norms else None)

    def sums(self) -> RowProducts | None:
        """Ask the store."""
        return self.store.sums()

    @property
    def has_norms(self) -> bool:
        """Whether rows have their norms in a metric."""
        return self.store.has_norms

    def nearest(self, queries: Float32Array, k: int) -> tuple[IntArray, Float64Array]:
        """Search the store."""
        return self.store.nearest(queries, k)

    def rows_of_labels(
        self, label_ids: IntArray, columns: Sequence[ColumnName] = ("vectors",), most: int | None = None
    ) -> Iterator[RowBlock]:
        """Read all rows of some labels, in blocks, by id; at most `most` of each label: always the same first ones."""
        ids = ids_of_labels(label_ids, self._starts, most)
        for start in range(0, len(ids), _ROWS):
            yield self.rows_of_ids(ids[start : start + _ROWS], columns)

    def rows_of_contents(self, contents: Sequence[str], columns: Sequence[ColumnName] = ("contents",)) -> RowBlock:
        """Ask the store."""
        return self.store.rows_of_contents(contents, columns)

    def blocks(self, columns: Sequence[ColumnName]) -> Iterator[RowBlock]:
        """Read all rows of the store."""
        return self.store.blocks(columns)

    def rows_of_ids(self, ids: IntArray, columns: Sequence[ColumnName]) -> RowBlock:
        """Read rows by their ids, in this order; raise KeyError where there is no such row."""
        require_rows(ids, int(self._starts[-1]))
        wanted = np.asarray(ids, np.int64)
        others = self.store.rows_of_ids(wanted, [name for name in columns if name not in ("vectors", "norms")])
        found: dict[str, Any] = {"contents": others.contents, "paths": others.paths, "all_paths": others.all_paths}
        if "vectors" in columns:
            found["vectors"] = self._read(wanted, "vectors", (self._dim,), np.dtype(np.float32))
        if "norms" in columns:
            found["norms"] = self._read(wanted, "norms", (), np.dtype(np.float64))
        return RowBlock(wanted, labels_of_rows(wanted, self._starts), **found)

    def _read(self, ids: IntArray, column: ColumnName, shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
        """Return the values (n, *shape) of rows, from their pages; those that are missing are read and kept."""
        values = np.empty((len(ids), *shape), kind)
        pages, places = np.unique(ids // self._page_rows, return_inverse=True)
        for first in range(0, len(pages), _AT_ONCE):
            part = pages[first : first + _AT_ONCE]
            held = {page: self._pages.get(self._name(column, page)) for page in part.tolist()}
            missing = [page for page, content in held.items() if content is None]
            held |= self._fetched(missing, column)
            for number, page in enumerate(part.tolist(), first):
                rows = np.frombuffer(held[page] or b"", kind).reshape(-1, *shape)
                of_page = places == number
                values[of_page] = rows[ids[of_page] - page * self._page_rows]
        return values

    def _fetched(self, pages: Sequence[int], column: ColumnName) -> dict[int, bytes]:
        """Read whole pages from the store, together, and keep them."""
        ranges = [
            np.arange(page * self._page_rows, min((page + 1) * self._page_rows, self._starts[-1])) for page in pages
        ]
        if not ranges:
            return {}
        block = self.store.rows_of_ids(np.concatenate(ranges), (column,))
        values, start, found = block.vectors if column == "vectors" else block.norms, 0, dict[int, bytes]()
        if values is None:
            raise ValueError(f"expected rows with {column}, got a store that left them out")
        for page, ids in zip(pages, ranges, strict=True):
            found[page] = np.ascontiguousarray(values[start : start + len(ids)]).tobytes()
            self._pages.put(self._name(column, page), found[page])
            start += len(ids)
        return found

    def _name(self, column: ColumnName, page: int) -> str:
        metric = self._metric if column == "norms" else None
        return "\0".join((self._place, self.version, column, metric or "", str(self._page_rows), str(page)))
