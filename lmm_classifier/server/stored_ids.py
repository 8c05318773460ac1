"""Examples by their ids in HTTP, where they stay in a store: they are read as pages ask for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

import numpy as np

from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.server.results import ExampleIds, KnownExample


class StoredExampleIds(ExampleIds):
    """The examples of a store; a row is the id of the store."""

    def __init__(self, index: StoreIndex, former: ExampleIds | None = None) -> None:
        super().__init__(index.contents, former)
        self._index = index

    def _found(self, path: str) -> str | None:
        """Return the content hash of an example that the index read as evidence; a store finds none by its path."""
        return self._index.content_of(path)

    def rows_of(self, content_hash: str) -> list[int]:
        """Return the rows with this content."""
        (rows,) = self._index.rows_with_hash([content_hash])
        return [int(row) for row in rows]

    def examples(self, rows: Iterable[int]) -> list[KnownExample]:
        """Read the examples of some rows."""
        found = self._index.described(np.array(list(rows), np.int64))
        return [KnownExample(content, example.path, example.label) for example, content in found]

    def page(self, label: str | None, cursor: str | None, size: int) -> tuple[list[KnownExample], str | None]:
        """Return some examples by label and content, because to sort all paths would read them."""
        every = range(len(self._index)) if label is None else self.rows_by_label.get(label, range(0))
        start = int(cursor) if cursor is not None and cursor.isdecimal() else every.start
        shown = range(max(start, every.start), min(start + size, every.stop))
        return self.examples(shown), str(shown.stop) if shown.stop < every.stop else None

    @cached_property
    def rows_by_label(self) -> Mapping[str, range]:
        """Return the rows of each label that has some, the labels in alphabetical order."""
        ends = np.cumsum(self._index.label_counts).tolist()
        starts = [0, *ends[:-1]]
        every = zip(self._index.label_names, starts, ends, strict=True)
        return {name: range(start, end) for name, start, end in every if end > start}
