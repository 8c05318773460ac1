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
    translated,
)
from lmm_classifier.index.backends.lance_table.layout import ARRIVALS, CHUNKS, MANIFEST, arrivals_schema, dims_of, part
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

    Which chunks are in a file is noted in a small dataset before the file is committed. A note about a file that was
    never committed says nothing; a file without a note is read. So notes need not be exact, and no row is read to know
    what is there.
    """

    def __init__(self, url: str, dataset: Any) -> None:
        self.location: Location = part(url, ARRIVALS)
        self._notes = part(url, CHUNKS)
        self._dataset = dataset
        self._seen = set[int]()  # fragments whose chunks are known: a fragment never changes
        self._chunks = set[str]()  # that are stored
        self._noted = dict[str, Sequence[str]]()  # file -> its chunks
        self._lock = Lock()

    @classmethod
    def create(cls, url: str, manifest: Manifest) -> Arrivals:
        """Make the dataset of the table at `url`, or open the one that is there."""
        schema = arrivals_schema(dims_of(manifest), {MANIFEST: manifest.to_json()})
        return cls(url, part(url, ARRIVALS).create(schema.empty_table()))

    @classmethod
    def open(cls, url: str) -> Arrivals:
        """Open the dataset of the table at `url`; raise IndexFileError where there is none."""
        return cls(url, part(url, ARRIVALS).open())

    @property
    def manifest(self) -> Manifest:
        """The manifest that the table was made with; its `count` says nothing."""
        metadata = self._dataset.schema.metadata or {}
        return Manifest.from_json(metadata.get(MANIFEST.encode(), b"{}"), str(self.location))

    def committed_chunks(self) -> set[str]:
        """Return the names of the chunks that are stored, by whoever."""
        self.refresh()
        with self._lock:
            new = [fragment for fragment in self._dataset.get_fragments() if fragment.fragment_id not in self._seen]
            files = {fragment.fragment_id: _file_of(fragment.metadata) for fragment in new}
            if not self._noted.keys() >= set(files.values()):
                self._noted |= self._read_notes()
            for fragment in new:
                self._chunks.update(self._noted.get(files[fragment.fragment_id]) or _names(fragment))
                self._seen.add(fragment.fragment_id)
            return set(self._chunks)

    def commit(self, chunks: Mapping[str, Any]) -> None:
        """Store chunks, those that are not there yet, in one new version: all of them or none."""
        chunks = {name: self._checked(name, rows) for name, rows in chunks.items()}
        written = WrittenChunks(frozenset(), [])

        def missing_parts(known: Collection[str]) -> list[WrittenChunks]:
            nonlocal written
            missing = {name: rows for name, rows in chunks.items() if name not in known}
            if missing and missing.keys() != written.names:
                written = self._written(missing)
            return [written] if missing else []

        self._committed(chunks.keys(), missing_parts)

    def write(self, chunks: Mapping[str, Any]) -> WrittenChunks:
        """Write chunks to files that belong to no version yet, so that another process can commit them."""
        return self._written({name: self._checked(name, rows) for name, rows in chunks.items()})

    def commit_written(self, parts: Sequence[WrittenChunks]) -> list[WrittenChunks]:
        """Store the chunks of several parts in one new version; those of a part all together.

        A part of which a chunk is there already cannot be stored: its files hold that chunk too. Return these parts.
        """
        self._committed({name for written in parts for name in written.names}, lambda known: _without(parts, known))
        stored = self.committed_chunks()
        return [written for written in parts if not written.names <= stored]

    def _committed(
        self, names: Collection[str], missing_parts: Callable[[Collection[str]], list[WrittenChunks]]
    ) -> None:
        """Commit the parts that are not there; a failed commit may have been stored, so look first."""
        failure: IndexFileError | None = None
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE * 2**attempt)
            try:
                parts = missing_parts(self.committed_chunks())
                if not parts:
                    return
                fragments = [fragment_from_json(values) for written in parts for values in written.fragments]
                self._note(parts)
                count = sum(len(written.names) for written in parts)
                self.location.append(fragments, self._dataset.version, {"chunks": str(count)})
            except IndexFileError as error:
                failure = error
            else:
                return
        if failure is not None and set(names) - self.committed_chunks():
            raise failure

    def _note(self, parts: Sequence[WrittenChunks]) -> None:
        """Note which chunks are in which file, before they are committed."""
        notes = {
            _file_of(fragment_from_json(values)): sorted(written.names)
            for written in parts
            for values in written.fragments
        }
        new = {file: names for file, names in notes.items() if file not in self._noted}
        if new:
            self._notes.add_rows(arrow().table([list(new), list(new.values())], schema=_notes_schema()))
        with self._lock:
            self._noted |= new

    def _read_notes(self) -> dict[str, Sequence[str]]:
        notes = self._notes.open_if_there()
        if notes is None:
            return {}
        with translated(str(self._notes)):
            rows = notes.to_table()
        return dict(zip(rows["file"].to_pylist(), rows["chunks"].to_pylist()))

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

    def _written(self, chunks: Mapping[str, Any]) -> WrittenChunks:
        schema = self._dataset.schema
        reader = arrow().RecordBatchReader.from_batches(schema, _batches(chunks, schema))
        fragments = self.location.write_fragments(reader, schema, self._dataset)
        return WrittenChunks(frozenset(chunks), [fragment_to_json(fragment) for fragment in fragments])

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


def _without(parts: Sequence[WrittenChunks], stored: Collection[str]) -> list[WrittenChunks]:
    """Return the parts that have none of these chunks, nor one of a former part: a task may have been done twice."""
    wanted, known = list[WrittenChunks](), set(stored)
    for written in parts:
        if written.names and known.isdisjoint(written.names):
            wanted.append(written)
            known |= written.names
    return wanted


def _notes_schema() -> Any:
    types = arrow()
    return types.schema([("file", types.string()), ("chunks", types.list_(types.string()))])


def _file_of(fragment: Any) -> str:
    """Return the name of the first file of a fragment, which no other fragment has."""
    return str(fragment.files[0].path)


def _names(fragment: Any) -> list[str]:
    """Return the names of the chunks of a fragment without a note."""
    names: list[str] = compute().unique(fragment.to_table(columns=["chunk"])["chunk"]).to_pylist()
    return names
