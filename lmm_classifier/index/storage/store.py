"""A durable index, opened for writing: there is one writer at a time, and each change is atomic.

Vectors are stored by the content of their images, apart from the table of examples. So a build or a sync can commit
them batch by batch without a visible change, and change the table once, at its end. An interrupted run loses nothing,
and a renamed image or label needs no new vector.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from lmm_classifier.core.arrays import Arrays, Float32Array, are_equal
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.protocols import Rows
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.manifest import FORMAT, Manifest
from lmm_classifier.index.manifest import FORMAT_VERSION as MANIFEST_VERSION
from lmm_classifier.index.staleness import FittedTo
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.editing.change import Applied, Change, apply_change
from lmm_classifier.index.storage.editing.edits import EditRow, NewEdit, edit_time, note_undo, put_edit
from lmm_classifier.index.storage.editing.purge import PurgeReport, purge_edits, referenced_images
from lmm_classifier.index.storage.editing.row_changes import RowChanges, put_row_changes
from lmm_classifier.index.storage.editing.stored_rows import StoredRows
from lmm_classifier.index.storage.editing.trash import Trash
from lmm_classifier.index.storage.lock import LOCK, WAIT, locked
from lmm_classifier.index.storage.reader import ADDED_FOLDER, read_store
from lmm_classifier.index.storage.records import (
    KnownFile,
    Record,
    put_known_files,
    put_records,
)
from lmm_classifier.index.storage.salvage import finish_repair
from lmm_classifier.index.storage.schema import VECTORS
from lmm_classifier.index.storage.snapshot import FOLDER
from lmm_classifier.index.storage.state import (
    BUILD,
    CALIBRATED,
    CALIBRATION,
    GROUPS,
    State,
    Vectors,
    groups_to_arrays,
    put_arrays,
    put_state,
    put_transforms,
    read_arrays,
)
from lmm_classifier.index.storage.times import add_times

_BLOCK = 1024


class Store(StoredRows):
    """A durable index that is open for writing; a context manager that closes it."""

    def __init__(self, folder: Path, create: bool = False, wait: float = WAIT) -> None:
        if create:
            _make_room(folder)
        elif not folder.exists():
            raise IndexFileError(f"There is no index at {folder}. Build one with `lmm-classifier build`.")
        finish_repair(folder, wait)
        if not create and not (folder / database.FILE).is_file():
            raise IndexFileError(f"{folder} is not a durable index: it has no {database.FILE}.")
        self._lock = locked(folder, wait)
        try:
            connection = database.connect(folder, write=True, create=create)
            with database.closed_on_error(connection), database.translated(folder):
                super().__init__(connection, folder)
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

    def image_root(self) -> str | None:
        """Return the dataset folder of the index, or of a first build that did not finish; None for a new index."""
        if self.state is not None:
            return self.state.checked_manifest(self.source).image_root
        root = self._started_build().get("image_root")
        return None if root is None else str(root)

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

    def commit(self, change: Change, manifest: Manifest, edit: NewEdit | None = None) -> int | None:
        """Change the examples and the version; set `manifest.count`. Return the id of the edit in the journal.

        A change of rows is written to the journal if there is an `edit`, and so are the first build and each undo. The
        images of examples that vanish move to the trash, and those of examples that come back leave it.
        """
        trash = Trash(self.folder)
        trash.restore(record.path for record in change.put)
        with self._changing():
            applied = apply_change(self._connection, self.source, change)
            state = self._changed(applied, manifest)
            if change.transforms is not None:
                crcs, vectors_digest = put_transforms(self._connection, change.transforms, manifest)
                state = replace(state, transforms=crcs, vectors_digest=vectors_digest, transform_hashes=state.contents)
            if edit is not None and (self.state is None or applied.rows or edit.undoes):
                state = replace(state, edits=state.edits + 1)
                self._log(edit, applied.rows, state)
            if change.tidy:
                self._tidy(manifest.space_ids)
            put_state(self._connection, state)
            self._connection.execute("DELETE FROM meta WHERE name = ?", (BUILD,))
        number = state.edits if self.state is None or state.edits > self.state.edits else None
        self.state: State | None = state
        if change.tidy:
            database.shrink(self._connection)
        trash.put(applied.vanished)
        return number or None

    def _changed(self, applied: Applied, manifest: Manifest) -> State:
        former = self.state or State.empty(self.dtype)
        count = int(former.manifest.get("count", 0)) + applied.count
        return replace(
            former,
            version=former.version + 1,
            digest=(former.digest + applied.digest) % 2**64,
            contents=(former.contents + applied.contents) % 2**64,
            groups=(former.groups + applied.groups) % 2**64,
            manifest={"format": FORMAT, "format_version": MANIFEST_VERSION, **asdict(manifest), "count": count},
        )

    def _log(self, edit: NewEdit, rows: RowChanges, state: State) -> None:
        roots = None if self.state is None else (self.state.manifest["image_root"], state.manifest["image_root"])
        row = EditRow.of(
            state.edits, edit, state.manifest["count"], None if roots is None or len(set(roots)) < 2 else roots
        )
        changed = 0 if self.state is None else put_row_changes(self._connection, state.edits, rows)
        row = replace(row, changed=changed)
        put_edit(self._connection, row)
        note_undo(self._connection, self.source, row)

    def touch(self, records: Iterable[Record]) -> None:
        """Store new sizes and times of files with unchanged content; the version does not change."""
        with self._changing():
            put_records(self._connection, records)
            self._connection.execute("DELETE FROM meta WHERE name = ?", (BUILD,))

    def set_calibration(self, calibration: Arrays | None, former: Arrays | None = None) -> bool:
        """Store a calibration in the place of the former one; return False where that is not the given one."""
        fitted = None if calibration is None else FittedTo.of(calibration)
        with self._changing():
            if former is not None and not are_equal(former, read_arrays(self._connection, self.source, CALIBRATION)):
                return False
            put_arrays(self._connection, CALIBRATION, calibration or {})
            database.set_meta(self._connection, CALIBRATED, b"{}" if fitted is None else fitted.to_json())
            return True

    def set_groups(self, groups: Mapping[str, str]) -> None:
        """Store the groups of examples by their ids, which stay with the ids through all edits."""
        with self._changing():
            put_arrays(self._connection, GROUPS, groups_to_arrays(groups))

    def purge(self, before: datetime) -> PurgeReport:
        """Forget the edits before a time, then delete the images in the trash to which no other edit refers.

        A program that is killed in between leaves images in the trash, which the next call deletes.
        """
        with self._changing():
            edits, contents = purge_edits(self._connection, self.source, edit_time(before))
            referenced = referenced_images(self._connection, self.source)
        trash = Trash(self.folder)
        unused = sorted(trash.names() - referenced)
        database.shrink(self._connection)
        return PurgeReport(edits, contents, len(unused), trash.delete(unused))

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

    def _tidy(self, encoders: Sequence[str]) -> None:
        places = ", ".join("?" for _ in encoders)
        self._connection.execute(
            f"DELETE FROM vectors WHERE encoder NOT IN ({places}) OR hash NOT IN "
            "(SELECT hash FROM examples UNION SELECT hash FROM journal)",
            encoders,
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
