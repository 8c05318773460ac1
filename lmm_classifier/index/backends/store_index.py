"""An index whose rows stay in a store: what a classifier asks of an index, without a thing per row in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, overload

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.datatypes import Example, Neighbor
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.core.protocols import RowStore, Transform
from lmm_classifier.core.rows import RowBlock
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.gallery import Gallery

_ROWS = 256  # searched at a time
_KEPT = 20_000  # examples whose content hash is known by their path


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
        self.store: RowStore = store
        self.manifest: Manifest = contents.manifest
        self.fingerprint: Fingerprint = contents.manifest.encoders[encoder].fingerprint
        self.transform: Transform = IdentityTransform()
        self.encoder: int = encoder
        self.label_names: Sequence[str] = store.label_names
        self.label_ids: IntArray = np.empty(0, np.int64)
        self.contents: IndexContents = contents
        self._read_lately = dict[str, str]()

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

    def nearest_others(
        self, rows: IntArray, k: int, progress: ProgressCallback | None = None
    ) -> Iterator[list[Neighbor]]:
        """Yield the k nearest examples with other content of each of the `rows`, nearest first.

        `progress` is called between two blocks of rows.
        """
        for start in range(0, len(rows), _ROWS):
            part = rows[start : start + _ROWS]
            ids, cosines = self.nearest_contents(self.store.rows_of_ids(part, ("vectors", "contents")), k)
            found = iter(self.examples_of(ids[ids >= 0]))
            for nearest, similar in zip(ids, cosines):
                yield [Neighbor(next(found), float(cosine)) for cosine in similar[nearest >= 0]]
            if progress is not None:
                progress(Progress("comparing findings", start + len(part), len(rows)))

    def nearest_contents(self, rows: RowBlock, k: int) -> tuple[IntArray, Float64Array]:
        """Return ids (m, k) and cosines of the nearest rows with other content, of rows with vectors and contents.

        Nearest first; -1 and -inf where there are fewer.
        """
        identical = self.rows_with_hash(rows.contents or ())
        most = k + max(map(len, identical), default=0)
        ids, cosines = self.store.nearest(np.asarray(rows.vectors, np.float32), most)
        for number, same in enumerate(identical):
            ids[number, np.isin(ids[number], same)] = -1
        is_other = ids >= 0
        order = np.argsort(~is_other, axis=1, kind="stable")[:, :k]
        ids = np.take_along_axis(ids, order, axis=1)
        return ids, np.where(ids >= 0, np.take_along_axis(cosines, order, axis=1), -np.inf)

    def content_of(self, path: str) -> str | None:
        """Return the content hash of an example that was read lately, None for any other: paths are not searched."""
        return self._read_lately.get(path)

    def described(self, ids: IntArray) -> list[tuple[Example, str]]:
        """Read examples by their ids, each with its content hash."""
        rows = self.store.rows_of_ids(np.asarray(ids, np.int64), ("paths", "contents"))
        examples = (Example(path, self.label_names[label]) for path, label in zip(rows.paths or (), rows.label_ids))
        return list(zip(examples, rows.contents or (), strict=True))

    def in_memory(self) -> Index:
        """Read all rows; each copy of an image is an example of its own again."""
        paths, hashes, labels = list[str](), list[str](), list[str]()
        vectors = [np.empty((0, self.store.means.shape[1]), np.float32)]
        for block in self.store.blocks(("vectors", "contents", "all_paths")):
            counts = [len(ids) for ids in block.all_paths or ()]
            paths += [path for ids in block.all_paths or () for path in ids]
            hashes += np.repeat(np.array(list(block.contents or ()), object), counts).tolist()
            labels += [self.label_names[label] for label in np.repeat(block.label_ids, counts).tolist()]
            vectors.append(np.repeat(np.asarray(block.vectors, np.float32), counts, axis=0))
        order = np.array(sorted(range(len(paths)), key=paths.__getitem__), np.int64)
        matrix = np.concatenate(vectors)[order]
        entries = self.manifest.encoders[self.encoder : self.encoder + 1]
        contents = replace(
            self.contents,
            manifest=replace(self.manifest, count=len(paths), encoders=entries),
            labels=[labels[row] for row in order],
            paths=[paths[row] for row in order],
            hashes=[hashes[row] for row in order],
            vectors=(EncoderVectors({}, lambda: [matrix]),),
            calibration=None,
            is_part=True,
        )
        return Index(contents, self.transform, matrix)

    def examples_of(self, ids: IntArray) -> list[Example]:
        """Read examples by their ids."""
        if not len(ids):
            return []
        found = self.described(ids)
        new = {example.path: content for example, content in found}
        # replaced as a whole, since other threads may read it; what another one adds in this moment may be lost
        self._read_lately = new if len(self._read_lately) > _KEPT else {**self._read_lately, **new}
        return [example for example, _ in found]


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
