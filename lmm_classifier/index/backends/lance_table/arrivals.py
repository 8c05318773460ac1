"""Chunks of encoded images as they come: each is committed once, whoever commits it how often."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.text import first_line
from lmm_classifier.index.backends.lance_table.datasets import (
    Location,
    arrow,
    compute,
    fragment_from_json,
    fragment_to_json,
)
from lmm_classifier.index.backends.lance_table.layout import MANIFEST, arrivals_schema, dims_of
from lmm_classifier.index.manifest import Manifest

_TRIES = 4  # of a commit; before each the manifest is read, because a failed one may have been stored
_PAUSE = 0.2  # seconds before the second try, twice as long before each next one


@dataclass(frozen=True)
class WrittenChunks:
    """Chunks in files that belong to no version yet, as plain values."""

    names: frozenset[str]
    fragments: list[dict[str, Any]]


class Arrivals:
    """The dataset of a table that takes chunks. One process should commit; that two do loses and doubles no row.

    Lance does not know whether it has a chunk: the same files committed twice are there twice. So the name of its
    chunk is in each row, and a chunk whose name is there is not committed again. Where two processes commit the same
    chunk in the same moment it is there twice; the rows are then equal, and finishing the table drops the second ones.
    """

    def __init__(self, location: Location, dataset: Any) -> None:
        self.location = location
        self._dataset = dataset
        self._chunks: dict[int, frozenset[str]] = {}  # by fragment: a fragment never changes
        self._lock = Lock()

    @classmethod
    def create(cls, location: Location, manifest: Manifest) -> Arrivals:
        """Make the dataset, or open the one that is there."""
        schema = arrivals_schema(dims_of(manifest), {MANIFEST: manifest.to_json()})
        return cls(location, location.create(schema.empty_table()))

    @classmethod
    def open(cls, location: Location) -> Arrivals:
        """Open the dataset; raise IndexFileError where there is none."""
        return cls(location, location.open())

    @property
    def manifest(self) -> Manifest:
        """The manifest that the table was made with; its `count` says nothing."""
        metadata = self._dataset.schema.metadata or {}
        return Manifest.from_json(metadata.get(MANIFEST.encode(), b"{}"), str(self.location))

    def committed_chunks(self) -> set[str]:
        """Return the names of the chunks that are stored, by whoever."""
        self.refresh()
        with self._lock:
            fragments = {fragment.fragment_id: fragment for fragment in self._dataset.get_fragments()}
            for number in fragments.keys() - self._chunks.keys():
                self._chunks[number] = frozenset(_names(fragments[number]))
            return set().union(*(self._chunks[number] for number in fragments))

    def commit(self, chunks: Mapping[str, Any]) -> None:
        """Store chunks, those that are not there yet, in one new version: all of them or none."""
        chunks = {name: self._checked(name, rows) for name, rows in chunks.items()}
        fragments, written = list[Any](), set[str]()

        def missing_fragments(known: Collection[str]) -> tuple[list[Any], int]:
            nonlocal fragments, written
            missing = {name: rows for name, rows in chunks.items() if name not in known}
            if missing and missing.keys() != written:
                fragments, written = self._write(missing), set(missing)
            return (fragments if missing else []), len(missing)

        self._committed(chunks.keys(), missing_fragments)

    def write(self, chunks: Mapping[str, Any]) -> WrittenChunks:
        """Write chunks to files that belong to no version yet, so that another process can commit them."""
        checked = {name: self._checked(name, rows) for name, rows in chunks.items()}
        return WrittenChunks(frozenset(checked), [fragment_to_json(fragment) for fragment in self._write(checked)])

    def commit_written(self, parts: Sequence[WrittenChunks]) -> list[WrittenChunks]:
        """Store the chunks of several parts in one new version; those of a part all together.

        A part of which a chunk is there already cannot be stored: its files hold that chunk too. Return these parts.
        """

        def missing_fragments(known: Collection[str]) -> tuple[list[Any], int]:
            stored, new = set(known), list[WrittenChunks]()
            for part in parts:
                if not part.names & stored:  # a part may be there twice, since a task may be done twice
                    new.append(part)
                    stored |= part.names
            return [fragment_from_json(one) for part in new for one in part.fragments], sum(len(p.names) for p in new)

        self._committed({name for part in parts for name in part.names}, missing_fragments)
        stored = self.committed_chunks()
        return [part for part in parts if not part.names <= stored]

    def _committed(
        self, names: Collection[str], missing_fragments: Callable[[Collection[str]], tuple[list[Any], int]]
    ) -> None:
        """Commit the fragments of chunks that are not there; a failed commit may have been stored, so look first."""
        failure: IndexFileError | None = None
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE * 2**attempt)
            try:
                fragments, count = missing_fragments(self.committed_chunks())
                if not count:
                    return
                self.location.append(fragments, self._dataset.version, {"chunks": str(count)})
            except IndexFileError as error:
                failure = error
            else:
                return
        if failure is not None and set(names) - self.committed_chunks():
            raise failure

    def refresh(self) -> None:
        """Read the newest version."""
        dataset = self.location.open()
        with self._lock:
            if dataset.version >= self._dataset.version:
                self._dataset = dataset

    @property
    def dataset(self) -> Any:
        """The newest version that was read."""
        return self._dataset

    def _write(self, chunks: Mapping[str, Any]) -> list[Any]:
        schema = self._dataset.schema
        reader = arrow().RecordBatchReader.from_batches(schema, _batches(chunks, schema))
        return self.location.write_fragments(reader, schema)

    def _checked(self, name: str, rows: Any) -> Any:
        """Return the rows of a chunk with the types of the dataset; raise IndexFileError where they have others."""
        types, functions = arrow(), compute()
        expected = [field.name for field in self._dataset.schema if field.name != "chunk"]
        if not name or not isinstance(name, str):
            raise IndexFileError(f"{name!r} is no name of a chunk. Expected text that is not empty.")
        if set(rows.column_names) != set(expected) or not rows.num_rows:
            raise IndexFileError(
                f"Chunk {name} has {rows.num_rows} rows of {', '.join(rows.column_names)}. Expected one row or more, "
                f"with the columns {', '.join(expected)}."
            )
        schema = types.schema([self._dataset.schema.field(column) for column in expected])
        try:
            rows = rows.select(expected).cast(schema)
        except (types.ArrowException, ValueError, TypeError) as error:
            raise IndexFileError(f"Chunk {name}: its columns have other types: {first_line(error)}") from None
        for column in (column for column in expected if column.startswith("vector")):
            has_vector = functions.is_valid(rows[column])
            if not functions.all(functions.equal(has_vector, functions.is_null(rows["kind"]))).as_py():
                raise IndexFileError(f"Chunk {name}: expected a vector or a kind of refusal in each row, not both.")
            if functions.any(functions.and_(has_vector, functions.is_null(rows["content"]))).as_py():
                raise IndexFileError(f"Chunk {name} has a vector without the SHA-256 of its content.")
            if not np.isfinite(rows[column].drop_null().combine_chunks().flatten().to_numpy()).all():
                raise IndexFileError(f"Chunk {name} has a vector with NaN or infinity.")
        return rows


def _batches(chunks: Mapping[str, Any], schema: Any) -> Iterator[Any]:
    """Yield the rows of chunks in the order of their names, each with that name."""
    types = arrow()
    for name in sorted(chunks):
        rows = chunks[name]
        rows = rows.append_column("chunk", types.repeat(types.scalar(name), rows.num_rows))
        yield from rows.select(schema.names).cast(schema).to_batches()


def _names(fragment: Any) -> list[str]:
    """Return the names of the chunks of a fragment."""
    names: list[str] = compute().unique(fragment.to_table(columns=["chunk"])["chunk"]).to_pylist()
    return names
