"""A durable index, opened for writing: there is one writer at a time, and each change is atomic.

Vectors are stored by the content of their images, apart from the table of examples. So a build or a sync can commit
them batch by batch without a visible change, and change the table once, at its end. An interrupted run loses nothing,
and a renamed image or label needs no new vector.
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

from lmm_classifier.core.arrays import Arrays, Float32Array
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.protocols import Rows, Transform
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.manifest import FORMAT, Manifest
from lmm_classifier.index.manifest import FORMAT_VERSION as MANIFEST_VERSION
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.lock import LOCK, WAIT, locked
from lmm_classifier.index.storage.reader import ADDED_FOLDER, read_store
from lmm_classifier.index.storage.records import (
    KnownFile,
    Record,
    contents_digest,
    digest_of,
    put_known_files,
    put_records,
    put_removed,
    read_records,
    read_removed,
)
from lmm_classifier.index.storage.records import read_known_files as all_known_files
from lmm_classifier.index.storage.salvage import finish_repair
from lmm_classifier.index.storage.schema import VECTORS
from lmm_classifier.index.storage.snapshot import FOLDER
from lmm_classifier.index.storage.state import (
    BUILD,
    CALIBRATION,
    State,
    Vectors,
    put_arrays,
    put_state,
    put_transforms,
)
from lmm_classifier.index.storage.times import add_times

_BLOCK = 1024


@dataclass(frozen=True)
class Change:
    """Changes of the examples in one commit."""

    put: Sequence[Record]  # new examples, and those that replace the ones with the same ids
    drop: Sequence[str] = ()  # ids
    transforms: Sequence[Transform] | None = None  # of each encoder; None leaves the stored ones
    removed: Sequence[tuple[str, str]] = ()  # content hash and id of examples that `sync` must not add again
    readmitted: Sequence[str] = ()  # removed content hashes that may be added again
    tidy: bool = False  # delete vectors without an example, and known files that became examples


class Store:
    """A durable index that is open for writing; a context manager that closes it."""

    def __init__(self, folder: Path, create: bool = False, wait: float = WAIT) -> None:
        self.folder = folder
        self.source = str(folder)
        if create:
            _make_room(folder)
        elif not folder.exists():
            raise IndexFileError(f"There is no index at {folder}. Build one with `lmm-classifier build`.")
        finish_repair(folder, wait)
        if not create and not (folder / database.FILE).is_file():
            raise IndexFileError(f"{folder} is not a durable index: it has no {database.FILE}.")
        self._lock = locked(folder, wait)
        try:
            self._connection = database.connect(folder, write=True, create=create)
            with database.closed_on_error(self._connection), database.translated(folder):
                self.state = State.read(self._connection, self.source)
                self.dtype = self.state.dtype if self.state else self._started_build().get("dtype", "float32")
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
        """Close the database and release the lock; the last connection moves the log of SQLite into the database."""
        try:
            self._connection.close()
        finally:
            self._lock.release()

    def discard(self) -> None:
        """Remove the files of an unfinished index, and the folder if it is empty then."""
        self.close()
        shutil.rmtree(self.folder / FOLDER, ignore_errors=True)
        for file in (*self.folder.glob(f"{database.FILE}*"), self.folder / LOCK):
            file.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()

    @property
    def added_folder(self) -> Path:
        """Return the folder with the images that were added by hand."""
        return self.folder / ADDED_FOLDER

    def manifest(self) -> Manifest | None:
        """Return the manifest; None before the first build is finished."""
        return None if self.state is None else self.state.checked_manifest(self.source)

    def image_root(self) -> str | None:
        """Return the dataset folder of the index, or of a first build that did not finish; None for a new index."""
        if self.state is not None:
            return self.state.checked_manifest(self.source).image_root
        root = self._started_build().get("image_root")
        return None if root is None else str(root)

    def records(self) -> list[Record]:
        """Return all examples, ascending by id."""
        with database.translated(self.folder):
            return list(read_records(self._connection, self.source))

    def removed(self) -> dict[str, set[str]]:
        """Return the content hashes that a person removed, each with the ids that it had."""
        with database.translated(self.folder):
            return read_removed(self._connection, self.source)

    def known_files(self) -> list[KnownFile]:
        """Return the known files that are not examples (yet)."""
        with database.translated(self.folder):
            return list(all_known_files(self._connection))

    def encoded_hashes(self, encoder: str) -> set[str]:
        """Return the content hashes that have a vector of `encoder`, a `Fingerprint.space_id`."""
        with database.translated(self.folder):
            rows = self._connection.execute("SELECT hash FROM vectors WHERE encoder = ?", (encoder,))
            return {database.decoded(content_hash, self.source) for (content_hash,) in rows}

    def begin(self, image_root: str, dtype: str) -> None:
        """Store which dataset is being read, so that an interrupted build can be described.

        `dtype` is the number type of stored vectors. It has no effect once the index has a number type.
        """
        if self.state is None and not self._started_build():
            self.dtype = dtype
        with self._changing():
            database.set_meta(
                self._connection, BUILD, json.dumps({"image_root": image_root, "dtype": self.dtype}).encode()
            )

    def _started_build(self) -> dict[str, Any]:
        entry = database.get_meta(self._connection, BUILD, self.source)
        return {} if entry is None else database.as_json(entry, self.source)

    def put_vectors(
        self,
        vectors: Mapping[str, Iterable[tuple[str, Float32Array]]],
        files: Iterable[KnownFile] = (),
        times: Mapping[str, tuple[float, int]] | None = None,
    ) -> None:
        """Commit what was found of files; readers see no change. An encoder is named by its `Fingerprint.space_id`.

        Args:
            vectors: for each encoder its vectors (dim,) with their content hashes.
            files: known files.
            times: the seconds that each encoder took, and for how many images.
        """
        with self._changing():
            rows = []
            for encoder, pairs in vectors.items():
                for content_hash, vector in pairs:
                    key, data = database.encoded(content_hash), np.ascontiguousarray(vector, self.dtype).tobytes()
                    rows.append((encoder, key, data, database.checksum(encoder, key, data)))
            self._connection.executemany(VECTORS.replace, rows)
            put_known_files(self._connection, files)
            if times:
                add_times(self._connection, self.source, times)

    def commit(self, change: Change, manifest: Manifest) -> State:
        """Change the examples and the version; set `manifest.count`. Return the new state."""
        with self._changing():
            state = self.state or State(uuid.uuid4().hex, 0, 0, 0, (), 0, self.dtype, {})
            former = self._digests([*change.drop, *(record.path for record in change.put)])
            self._connection.executemany(
                "DELETE FROM examples WHERE path = ?", [(database.encoded(path),) for path in change.drop]
            )
            put_records(self._connection, change.put)
            current = [(record.digest, contents_digest([record.content_hash])) for record in change.put]
            digest, contents = (
                (total + sum(pair[field] for pair in current) - sum(pair[field] for pair in former)) % 2**64
                for field, total in enumerate((state.digest, state.contents))
            )
            count = self._connection.execute("SELECT count(*) FROM examples").fetchone()[0]
            state = replace(
                state,
                version=state.version + 1,
                digest=digest,
                contents=contents,
                manifest={"format": FORMAT, "format_version": MANIFEST_VERSION, **asdict(manifest), "count": count},
            )
            if change.transforms is not None:
                crcs = put_transforms(self._connection, change.transforms, manifest)
                state = replace(state, transforms=crcs, transform_hashes=contents)
            put_removed(self._connection, change.removed)
            self._connection.executemany(
                "DELETE FROM removed WHERE hash = ?", [(database.encoded(key),) for key in change.readmitted]
            )
            if change.tidy:
                self._tidy(manifest.space_ids)
            put_state(self._connection, state)
            self._connection.execute("DELETE FROM meta WHERE name = ?", (BUILD,))
        if change.tidy:
            database.shrink(self._connection)
        self.state = state
        return state

    def touch(self, records: Iterable[Record]) -> None:
        """Store new sizes and times of files with unchanged content; the version does not change."""
        with self._changing():
            put_records(self._connection, records)
            self._connection.execute("DELETE FROM meta WHERE name = ?", (BUILD,))

    def set_calibration(self, calibration: Arrays | None) -> None:
        """Store a calibration in the place of the former one."""
        with self._changing():
            put_arrays(self._connection, CALIBRATION, calibration or {})

    def rows(self, encoder: str, dim: int, hashes: Sequence[str]) -> Rows:
        """Return a function that yields the vectors of these content hashes in blocks (m, dim), as often as called."""
        vectors = Vectors(self._connection, encoder, dim, np.dtype(self.dtype), self.source)

        def walk() -> Iterator[Float32Array]:
            for start in range(0, len(hashes), _BLOCK):
                with database.translated(self.folder):
                    yield vectors.embeddings(hashes[start : start + _BLOCK])

        return walk

    def contents(self) -> IndexContents:
        """Return the index as a reader sees it; outdated derived files are made again."""
        return read_store(self.folder)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with database.translated(self.folder), database.transaction(self._connection):
            yield

    def _digests(self, paths: Iterable[str]) -> list[tuple[int, int]]:
        """Return the digests (row, content) of the examples among `paths` that exist; each counts once."""
        digests = []
        for path in dict.fromkeys(paths):
            row = self._connection.execute(
                "SELECT path, label, hash FROM examples WHERE path = ?", (database.encoded(path),)
            ).fetchone()
            if row is not None:
                digests.append((digest_of(*row), contents_digest([database.decoded(row[2], self.source)])))
        return digests

    def _tidy(self, encoders: Sequence[str]) -> None:
        places = ", ".join("?" for _ in encoders)
        self._connection.execute(
            f"DELETE FROM vectors WHERE encoder NOT IN ({places}) OR hash NOT IN (SELECT hash FROM examples)", encoders
        )
        self._connection.execute("DELETE FROM files WHERE kind = ''")


def _make_room(folder: Path) -> None:
    """Create the folder; raise IndexFileError if it exists and holds other files."""
    if folder.exists() and not folder.is_dir():
        raise IndexFileError(f"{folder} is a file, but a durable index is a folder. Choose another output.")
    if (
        folder.is_dir()
        and any(folder.iterdir())
        and not ((folder / database.FILE).exists() or (folder / LOCK).exists())
    ):
        raise IndexFileError(f"{folder} exists and is not an index, so nothing was changed. Choose another output.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IndexFileError(f"Cannot create the index {folder}: {error}. Choose another output.") from error
