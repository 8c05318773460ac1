"""A durable index, opened for changing: one writer at a time, and each change is whole or not at all.

Vectors are kept by the content of their pictures, apart from the table of examples. So a build or a sync commits them
as they come, unseen by readers, and changes the table once, at its end: an interrupted one has lost nothing, and a
renamed picture, or label, needs no vector anew.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout
from numpy.typing import NDArray

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.protocols import FloatArray, Rows, Space
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.manifest import FORMAT, Manifest
from lmm_classifier.index.manifest import FORMAT_VERSION as MANIFEST_VERSION
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.npz import CALIBRATION, SPACE
from lmm_classifier.index.storage.reader import ADDED_FOLDER, read_store
from lmm_classifier.index.storage.records import (
    Record,
    Seen,
    contents_digest,
    digest_of,
    put_records,
    put_removed,
    put_seen,
    read_records,
    read_removed,
)
from lmm_classifier.index.storage.records import read_seen as all_seen
from lmm_classifier.index.storage.snapshot import FOLDER
from lmm_classifier.index.storage.state import BUILD, State, Vectors, put_arrays, put_state

LOCK = "writer.lock"
WAIT = 10.0  # seconds for another writer to finish
_BLOCK = 1024


@dataclass(frozen=True)
class Change:
    """What one commit does to the examples: `put` replaces those of the same ids. `space` None keeps the one there."""

    put: Sequence[Record]
    drop: Sequence[str] = ()
    space: Space | None = None
    removed: Sequence[tuple[str, str]] = ()  # content and id of examples that are not to come back by themselves
    welcome: Sequence[str] = ()  # contents that may come back
    tidy: bool = False  # forget vectors that no example has, and files that were seen and became examples


class Store:
    """A durable index that is being written; a context manager, closed at the end of the block."""

    def __init__(self, folder: Path, create: bool = False, wait: float = WAIT) -> None:
        self.folder = folder
        self.source = str(folder)
        if create:
            _make_room(folder)
        elif not folder.exists():
            raise IndexFileError(
                f"there is no index at {folder}: make one with `lmm-classifier build CORPUS --output {folder}`"
            )
        elif not (folder / database.FILE).is_file():
            raise IndexFileError(f"{folder} is not a durable index: there is no {database.FILE} in it")
        self._lock = locked(folder, wait)
        try:
            self._connection = database.connect(folder, write=True, create=create)
            with database.translated(folder):
                self.state = State.read(self._connection, self.source)
                self.dtype = self.state.dtype if self.state else self._begun().get("dtype", "float32")
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write; SQLite puts its log into the database file if nobody else has it open."""
        try:
            self._connection.close()
        finally:
            self._lock.release()

    def discard(self) -> None:
        """Remove the files of an index that was never finished, and the folder if nothing else is in it."""
        self.close()
        shutil.rmtree(self.folder / FOLDER, ignore_errors=True)
        for file in (*self.folder.glob(f"{database.FILE}*"), self.folder / LOCK):
            file.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    @property
    def added_folder(self) -> Path:
        """Where the pictures that were added by hand are kept."""
        return self.folder / ADDED_FOLDER

    def manifest(self) -> Manifest | None:
        """What the index says of itself; None before its first build has ended."""
        return None if self.state is None else self.state.checked_manifest(self.source)

    def records(self) -> list[Record]:
        """All examples, ascending by id."""
        with database.translated(self.folder):
            return list(read_records(self._connection, self.source))

    def removed(self) -> dict[str, set[str]]:
        """Contents that a person took out, with the ids each had."""
        with database.translated(self.folder):
            return read_removed(self._connection, self.source)

    def seen(self) -> list[Seen]:
        """What was found of files that are no examples (yet)."""
        with database.translated(self.folder):
            return list(all_seen(self._connection))

    def encoded(self, encoder: str) -> set[str]:
        """Contents that have a vector of `encoder`, a `Fingerprint.space_id`."""
        with database.translated(self.folder):
            rows = self._connection.execute("SELECT hash FROM vectors WHERE encoder = ?", (encoder,))
            return {database.decoded(content, self.source) for (content,) in rows}

    def begin(self, image_root: str, dtype: str) -> None:
        """Note which corpus is being read, for those who find the index unfinished.

        `dtype` is the number type in which vectors are kept; once there are some, theirs is.
        """
        if self.state is None and not self._begun():
            self.dtype = dtype
        with self._changing():
            database.set_meta(
                self._connection, BUILD, json.dumps({"image_root": image_root, "dtype": self.dtype}).encode()
            )

    def _begun(self) -> dict[str, Any]:
        found = database.get_meta(self._connection, BUILD, self.source)
        return {} if found is None else database.as_json(found, self.source)

    def keep(self, encoder: str, vectors: Iterable[tuple[str, FloatArray]], seen: Iterable[Seen] = ()) -> None:
        """Commit vectors (dim,) by their contents, and what was found of files; no reader sees a change."""
        with self._changing():
            rows = []
            for content, vector in vectors:
                key, data = database.encoded(content), np.ascontiguousarray(vector, self.dtype).tobytes()
                rows.append((encoder, key, data, database.checksum(encoder, key, data)))
            self._connection.executemany(
                "INSERT OR REPLACE INTO vectors (encoder, hash, vector, crc) VALUES (?, ?, ?, ?)", rows
            )
            put_seen(self._connection, seen)

    def commit(self, change: Change, manifest: Manifest) -> State:
        """Change the examples, and with them the version; `manifest.count` is set here. Returns the new state."""
        with self._changing():
            state = self.state or State(uuid.uuid4().hex, 0, 0, 0, 0, 0, self.dtype, {})
            gone = self._digests([*change.drop, *(record.path for record in change.put)])
            self._connection.executemany(
                "DELETE FROM examples WHERE path = ?", [(database.encoded(path),) for path in change.drop]
            )
            put_records(self._connection, change.put)
            came = [(record.digest, contents_digest([record.content_hash])) for record in change.put]
            digest, contents = (
                (now + sum(one[field] for one in came) - sum(one[field] for one in gone)) % 2**64
                for field, now in enumerate((state.digest, state.contents))
            )
            count = self._connection.execute("SELECT count(*) FROM examples").fetchone()[0]
            state = replace(
                state,
                version=state.version + 1,
                digest=digest,
                contents=contents,
                manifest={"format": FORMAT, "format_version": MANIFEST_VERSION, **asdict(manifest), "count": count},
            )
            if change.space is not None:
                crc = put_arrays(self._connection, SPACE, change.space.state())
                state = replace(state, space=database.checksum(crc, change.space.name), space_contents=contents)
            put_removed(self._connection, change.removed)
            self._connection.executemany(
                "DELETE FROM removed WHERE hash = ?", [(database.encoded(content),) for content in change.welcome]
            )
            if change.tidy:
                self._tidy(manifest.fingerprint.space_id)
            put_state(self._connection, state)
            self._connection.execute("DELETE FROM meta WHERE name = ?", (BUILD,))
        self.state = state
        return state

    def touch(self, records: Iterable[Record]) -> None:
        """Note the new sizes and times of files whose content is as it was; the version stays."""
        with self._changing():
            put_records(self._connection, records)
            self._connection.execute("DELETE FROM meta WHERE name = ?", (BUILD,))

    def set_calibration(self, calibration: Mapping[str, NDArray[Any]] | None) -> None:
        """Keep what `calibrate` found, in the place of what is there."""
        with self._changing():
            put_arrays(self._connection, CALIBRATION, calibration or {})

    def rows(self, encoder: str, dim: int, hashes: Sequence[str]) -> Rows:
        """Walks over the vectors of these contents, in blocks (m, dim), as often as wanted."""
        vectors = Vectors(self._connection, encoder, dim, np.dtype(self.dtype), self.source)

        def walk() -> Iterator[FloatArray]:
            for start in range(0, len(hashes), _BLOCK):
                with database.translated(self.folder):
                    yield vectors.of(hashes[start : start + _BLOCK])

        return walk

    def contents(self) -> Contents:
        """The index as a reader sees it, its derived files made current."""
        return read_store(self.folder)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with database.translated(self.folder), database.transaction(self._connection):
            yield

    def _digests(self, paths: Iterable[str]) -> list[tuple[int, int]]:
        """The digests, of row and of content, of those examples that are there; each is counted once."""
        found = []
        for path in dict.fromkeys(paths):
            row = self._connection.execute(
                "SELECT path, label, hash FROM examples WHERE path = ?", (database.encoded(path),)
            ).fetchone()
            if row is not None:
                found.append((digest_of(*row), contents_digest([database.decoded(row[2], self.source)])))
        return found

    def _tidy(self, encoder: str) -> None:
        self._connection.execute(
            "DELETE FROM vectors WHERE encoder <> ? OR hash NOT IN (SELECT hash FROM examples)", (encoder,)
        )
        self._connection.execute("DELETE FROM files WHERE kind = ''")


def _make_room(folder: Path) -> None:
    """Make the folder; one that holds somebody's files is left as it is."""
    if folder.exists() and not folder.is_dir():
        raise IndexFileError(f"{folder} is a file; a durable index is a folder: choose another output")
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not ((folder / database.FILE).exists() or (folder / LOCK).exists())
    ):
        raise IndexFileError(f"{folder} exists and is not an index: it is left as it is; choose another output")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IndexFileError(f"cannot make the index {folder}: {error}; choose another output") from error


def locked(folder: Path, wait: float = WAIT) -> BaseFileLock:
    """Wait until nobody else is changing the index in `folder`; release it when done. Raises IndexFileError."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise IndexFileError(
            f"another program has been changing {folder} for {wait:g} seconds: let it end, then run this again"
        ) from None
    except OSError as error:
        raise IndexFileError(f"{folder} cannot be changed: {error}; choose an index in a folder that can") from error
    return lock
