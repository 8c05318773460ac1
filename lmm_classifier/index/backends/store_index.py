"""An index whose rows stay in a store: what a classifier asks of an index, without a thing per row in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn, overload

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.datatypes import Example, Neighbor
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.protocols import RowStore
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.gallery import Gallery


class StoreIndex(Index):
    """The examples of a store of rows, for one encoder whose own space is searched; a row is named by its id.

    Whatever needs all rows in memory raises ConfigError.

    Example:
        >>> from lmm_classifier import Index
        >>> from lmm_classifier.index.backends.memory_rows import MemoryRowStore
        >>> from lmm_classifier.index.backends.store_index import StoreIndex
        >>> index = Index.open("index")
        >>> stored = StoreIndex(MemoryRowStore(index), index.contents)
        >>> len(stored) == len(index), stored.examples[0].label
        (True, 'gingham')
    """

    def __init__(self, store: RowStore, contents: IndexContents, encoder: int = 0) -> None:
        """Take a store; `contents` describe it, and need not hold its examples."""
        self.store = store
        self.manifest = contents.manifest
        self.fingerprint = contents.manifest.encoders[encoder].fingerprint
        self.transform = IdentityTransform()
        self.encoder = encoder
        self.label_names = store.label_names
        self.label_ids = np.empty(0, np.int64)
        self.contents = contents

    def __len__(self) -> int:
        return int(self.store.counts.sum())

    @property
    def examples(self) -> Sequence[Example]:
        """Return the examples; one is read when it is asked for by its id."""
        return _StoredExamples(self)

    @property
    def hashes(self) -> Sequence[str]:  # type: ignore[override]
        """Raise ConfigError: the content hashes of all rows are not in memory."""
        self._refuse("reading all content hashes")

    @property
    def gallery(self) -> Gallery:
        """Raise ConfigError: the rows are not in memory."""
        self._refuse("this use of the index")

    @property
    def label_counts(self) -> IntArray:
        """Return the number of rows of each label, (C,)."""
        return self.store.counts

    def vectors(self) -> Float32Array:
        """Raise ConfigError: the rows are not in memory."""
        self._refuse("reading all vectors")

    def without(self, rows: IntArray) -> Index:  # noqa: ARG002
        """Raise ConfigError: the rows are not in memory."""
        self._refuse("taking a part of the index")

    def only(self, labels: object) -> Index:  # noqa: ARG002
        """Raise ConfigError: the rows are not in memory."""
        self._refuse("`labels`, which fits the rule to some labels,")

    def _refuse(self, what: str) -> NoReturn:
        raise ConfigError(
            f"{what} needs all {len(self)} examples in memory, but retrieval.search: store leaves them in the store. "
            "Set retrieval.search: exact, or ann, where they fit."
        )

    def rows_with_hash(self, hashes: Sequence[str | None]) -> list[IntArray]:
        """Return the ids of the rows with each content hash, none for None."""
        wanted = sorted({digest for digest in hashes if digest})
        if not wanted:
            return [np.empty(0, np.int64) for _ in hashes]
        rows = self.store.rows_of_contents(wanted, ("contents",))
        contents = np.array(list(rows.contents or ()), np.str_)
        return [rows.ids[contents == digest] if digest else np.empty(0, np.int64) for digest in hashes]

    def neighbors(self, rows: IntArray, similarities: Float64Array) -> list[Neighbor]:
        """Return the examples with the ids `rows`, each with its similarity."""
        examples = self.examples_of(rows)
        return [Neighbor(example, float(similarity)) for example, similarity in zip(examples, similarities)]

    def examples_of(self, ids: IntArray) -> list[Example]:
        """Read examples by their ids."""
        if not len(ids):
            return []
        rows = self.store.rows_of_ids(np.asarray(ids, np.int64), ("paths",))
        return [Example(path, self.label_names[label]) for path, label in zip(rows.paths or (), rows.label_ids)]


@dataclass(frozen=True)
class _StoredExamples(Sequence[Example]):
    stored: StoreIndex

    def __len__(self) -> int:
        return len(self.stored)

    @overload
    def __getitem__(self, row: int) -> Example: ...
    @overload
    def __getitem__(self, row: slice) -> list[Example]: ...
    def __getitem__(self, row: int | slice) -> Example | list[Example]:
        if isinstance(row, slice):
            return self.stored.examples_of(np.arange(len(self))[row])
        return self.stored.examples_of(np.array([row]))[0]

    def __iter__(self) -> Iterator[Example]:
        names = self.stored.label_names
        for block in self.stored.store.blocks(("paths",)):
            for path, label in zip(block.paths or (), block.label_ids):
                yield Example(path, names[label])
