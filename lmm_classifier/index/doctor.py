"""Checks every part of an index, says what is wrong and how to mend it, and mends what can be derived."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lmm_classifier.core.errors import IndexFileError, LmmClassifierError
from lmm_classifier.index.contents import ADDED, Contents
from lmm_classifier.index.formats import read_index
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.npz import require_inside
from lmm_classifier.index.storage.reader import ADDED_FOLDER, read_store
from lmm_classifier.index.storage.repair import drop_damaged, set_right
from lmm_classifier.index.storage.salvage import salvage
from lmm_classifier.index.storage.snapshot import FOLDER, read_snapshot
from lmm_classifier.index.storage.state import BUILD, State
from lmm_classifier.index.storage.store import locked

Severity = Literal["damage", "note"]
_SAMPLE = 3  # names given of many


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to be said of an index: what, how to mend it, and whether that was done."""

    severity: Severity
    what: str
    advice: str
    mended: bool = False


def examine(path: Path, repair: bool = False) -> list[Finding]:
    """Check the index at `path`; with `repair`, mend what is derivable: no sound row is ever lost.

    Raises IndexFileError only where there is no index at all, or another program is changing it.
    """
    if not path.exists():
        raise IndexFileError(f"there is no index at {path}")
    if not path.is_dir():
        return list(_archive(path))
    if not (path / database.FILE).is_file():
        raise IndexFileError(f"{path} is not an index: the folder has no {database.FILE}")
    lock = locked(path) if repair else None
    try:
        findings = list(_database(path, repair))
        findings += _derived(path, repair)
        findings += _leftovers(path, repair)
        with suppress(LmmClassifierError):
            findings += _surroundings(read_store(path))
        return findings
    finally:
        if lock is not None:
            lock.release()


def _archive(path: Path) -> Iterator[Finding]:
    try:
        contents = read_index(path)
        bad = sum(int((~np.isfinite(block).all(axis=1)).sum()) for block in contents.vector_blocks())
        if bad:
            yield Finding("damage", f"{bad} vectors are not finite", "build it again")
        yield from _surroundings(contents)
    except (LmmClassifierError, OSError, ValueError) as error:
        yield Finding("damage", str(error), "build or export it again: a .npz file is not mended")


def _database(path: Path, repair: bool) -> Iterator[Finding]:
    problem = _structure(path)
    if problem is not None:
        advice = "`doctor --repair` saves every sound row into a new database; then `sync` fills the gaps"
        if not repair:
            yield Finding("damage", problem, advice)
            return
        try:
            counts = salvage(path)
        except (sqlite3.Error, IndexFileError, OSError) as error:
            yield Finding("damage", f"{problem}; nothing could be saved: {error}", "build the index again")
            return
        said = ", ".join(f"{count} {table}" for table, count in counts.items())
        yield Finding("damage", f"{problem}; saved {said}", "run `lmm-classifier sync` to fill the gaps", mended=True)
    with closing(database.connect(path, write=repair)) as connection:
        yield from _rows(connection, path, repair)


def _structure(path: Path) -> str | None:
    """What SQLite says is wrong with its file, None if nothing."""
    try:
        with closing(database.connect(path)) as connection:
            said = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(5)")]
    except (sqlite3.Error, IndexFileError) as error:
        return f"the database cannot be read: {error}"
    return None if said == ["ok"] else f"the database is damaged: {'; '.join(said)}"


def _rows(connection: sqlite3.Connection, path: Path, repair: bool) -> Iterator[Finding]:
    """Rows whose checksum is wrong, and what does not fit together; to mend them is to drop them."""
    try:
        for table, names in drop_damaged(connection, repair).items():
            yield Finding("damage", f"{len(names)} damaged {table}: {_named(names)}", _AFTER_ROWS[table], repair)
        state = State.read(connection, str(path))
        if state is None:
            yield _unfinished(connection)
            return
        state.checked_manifest(str(path))
        for problem in set_right(connection, state, str(path), repair):
            yield Finding("damage", problem, "run `lmm-classifier sync` to fill the gap", repair)
        if database.get_meta(connection, BUILD, str(path)) is not None:
            yield Finding("note", "a sync was interrupted", "run `lmm-classifier sync` again: it goes on from there")
        refused = connection.execute("SELECT count(*) FROM files WHERE kind <> ''").fetchone()[0]
        if refused:
            yield Finding("note", f"{refused} files of the corpus are remembered as no pictures", "`sync` lists them")
    except (sqlite3.Error, IndexFileError) as error:
        yield Finding("damage", str(error), "build the index again: what was encoded is used where it is sound")


_AFTER_ROWS = {
    "vectors": "`doctor --repair` drops them and their examples, `sync` encodes those again",
    "examples": "`doctor --repair` drops them, `sync` finds them again without encoding",
    "files": "`doctor --repair` drops them, `sync` looks at those files again",
    "removed": "`doctor --repair` drops them: `sync` brings those examples back",
    "meta": "`doctor --repair` drops them: calibrate again, or, where the space is damaged, sync",
}


def _unfinished(connection: sqlite3.Connection) -> Finding:
    count = connection.execute("SELECT count(*) FROM vectors").fetchone()[0]
    return Finding("damage", f"its first build was interrupted after {count} pictures", "run `build` again: it goes on")


def _derived(path: Path, repair: bool) -> Iterator[Finding]:
    """The files for searching: made again by reading the index, where they are damaged or of another version."""
    try:
        with database.reading(path) as connection:
            state = State.read(connection, str(path))
    except IndexFileError:
        return
    if state is None:
        return
    snapshot = read_snapshot(path, state.version)
    try:
        current = snapshot is not None and snapshot.stamp == state.stamp
        if current and snapshot is not None:
            snapshot.matrix()
            return
        problem = "the derived files are missing, damaged or of another version"
    except IndexFileError as error:
        problem = str(error)
    if repair:
        for file in (path / FOLDER).glob(f"{state.version}.*"):
            file.unlink()
        try:
            read_store(path)
        except LmmClassifierError as error:
            yield Finding("damage", f"{problem}; they cannot be made: {error}", "run `lmm-classifier sync`")
            return
    yield Finding("note", problem, "they are made again when the index is next opened", repair)


def _leftovers(path: Path, repair: bool) -> Iterator[Finding]:
    """What an interrupted program left behind."""
    left = [*path.glob(f"{FOLDER}/*.tmp"), *path.glob(f"{FOLDER}/.*.tmp"), *path.glob(f"{ADDED_FOLDER}/.*.tmp")]
    left += path.glob(".salvage-*/*")
    with suppress(LmmClassifierError):
        known = {one.removeprefix(ADDED) for one in read_store(path).paths if one.startswith(ADDED)}
        added = path / ADDED_FOLDER
        left += [file for file in added.glob("*") if file.name not in known and file.is_file()]
    left = list(dict.fromkeys(left))
    if left:
        if repair:
            for file in left:
                file.unlink(missing_ok=True)
        yield Finding("note", f"{len(left)} files were left behind: {_named([file.name for file in left])}",
                      "`doctor --repair` removes them", repair)  # fmt: skip


def _surroundings(contents: Contents) -> Iterator[Finding]:
    """What the index refers to, and what in it is of other examples."""
    try:
        require_inside(contents.paths, "the index")
    except IndexFileError as error:
        yield Finding("damage", str(error), "build the index again")
    missing = [path for path in contents.paths if not contents.file_of(path).is_file()]
    root = Path(contents.manifest.image_root)
    if not root.is_dir():
        yield Finding("note", f"the corpus folder {root} is not there", "answers stay, without pictures")
    elif missing:
        yield Finding("note", f"{len(missing)} pictures are not there: {_named(missing)}", "`sync` drops them")
    if not contents.space_is_current:
        yield Finding("note", "the space was fitted to other pictures", "`sync` or `calibrate` fits it anew")


def _named(names: list[str]) -> str:
    return ", ".join(names[:_SAMPLE]) + (f" and {len(names) - _SAMPLE} more" if len(names) > _SAMPLE else "")
