"""Check every part of an index, report problems with advice, and repair the parts that can be derived."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lmm_classifier.core.errors import IndexFileError, LmmClassifierError
from lmm_classifier.core.index_location import index_location
from lmm_classifier.core.progress import Progress, ProgressOption
from lmm_classifier.core.progress_display import displayed
from lmm_classifier.core.sqlite_errors import SQLITE_ERRORS
from lmm_classifier.data.places import exists
from lmm_classifier.data.readers.opening import source_problem, with_listing
from lmm_classifier.index.backends.lance_table.checking import table_problems
from lmm_classifier.index.contents import ADDED, IndexContents
from lmm_classifier.index.formats import is_durable, is_table, read_index, table_url
from lmm_classifier.index.leftovers import find_leftovers, listed
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.editing.journal_repair import repair_journal, repair_label_totals
from lmm_classifier.index.storage.lock import locked
from lmm_classifier.index.storage.npz import require_inside
from lmm_classifier.index.storage.reader import read_store
from lmm_classifier.index.storage.repair import drop_damaged, repair_arrays, repair_relations
from lmm_classifier.index.storage.salvage import finish_repair, is_half_repaired, salvage
from lmm_classifier.index.storage.snapshot import FOLDER, has_snapshot, read_snapshot
from lmm_classifier.index.storage.state import BUILD, State

Severity = Literal["damage", "note"]
_OWN_ADVICE = re.compile(r" *`lmm-classifier doctor[^`]*`[^.]*\.?")  # of an error, to whoever is no doctor


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem of an index.

    Example:
        >>> from lmm_classifier import Finding
        >>> finding = Finding("note", "a sync was interrupted", "run `lmm-classifier sync` again to resume it")
        >>> finding.severity, finding.repaired
        ('note', False)
    """

    severity: Severity  # "damage": something was lost or cannot be used; "note": the index works
    what: str  # the problem
    advice: str  # how to solve it
    repaired: bool = False  # whether this call repaired it


_FINISHED = Finding(
    "damage", "a repair was interrupted; it is finished now", "run `lmm-classifier sync` to add what is missing", True
)


def check_index(index_path: Path | str, repair: bool = False, progress: ProgressOption | None = None) -> list[Finding]:
    """Check all parts of an index: database, vectors, derived files, image files.

    Args:
        index_path: a durable index (folder); an `.npz` file or a table, which are only checked.
        repair: repair what can be repaired. Sound rows are never removed, unless they refer to a damaged row.
        progress: True shows it; a function is called after each part that is checked, and may raise `Cancelled` to stop
            there.

    Returns:
        The problems; an empty list if the index is sound.

    Raises:
        IndexFileError: if there is no index, or if another program is changing the index that is to be repaired.

    Example:
        >>> from lmm_classifier import check_index
        >>> [finding.what for finding in check_index("index") if finding.severity == "damage"]
        []
    """
    path = index_location(index_path)
    if is_table(path):
        found = table_problems(table_url(path))
        return [Finding("damage" if is_damage else "note", what, advice) for is_damage, what, advice in found]
    path = Path(path)
    if not path.exists():
        raise IndexFileError(f"There is no index at {path}.")
    if not is_durable(path):
        return list(_check_npz(path))
    interrupted = is_half_repaired(path)
    finish_repair(path)
    if not (path / database.FILE).is_file():
        raise IndexFileError(f"{path} is not an index: the folder has no {database.FILE}.")
    if (problem := database.former_format(path)) is not None:
        return [Finding("damage", problem.rstrip("."), "a former format cannot be repaired")]
    lock = locked(path) if repair else None
    try:
        findings = [_FINISHED] if interrupted else []
        parts = (_check_database, _check_derived_files, _check_leftovers, _check_image_files)
        with displayed(progress) as show:
            for number, check in enumerate(parts, 1):
                findings += check(path, repair)
                if show is not None:
                    show(Progress("checking parts of the index", number, len(parts)))
        return findings
    finally:
        if lock is not None:
            lock.release()


def _check_npz(path: Path) -> Iterator[Finding]:
    try:
        contents = read_index(path)
        blocks = (block for vectors in contents.vectors for block in vectors.blocks())
        count = sum(int((~np.isfinite(block).all(axis=1)).sum()) for block in blocks)
        if count:
            yield Finding("damage", f"{count} vectors are not finite", "build it again")
        yield from _check_references(contents)
    except (LmmClassifierError, OSError, ValueError) as error:
        yield Finding("damage", _problem(error), "build or export it again; a .npz file cannot be repaired")


def _check_database(path: Path, repair: bool) -> Iterator[Finding]:
    problem = _structural_problem(path)
    if problem is not None:
        sync_advice = "run `lmm-classifier sync` to add what is missing"
        if not repair:
            yield Finding("damage", problem, f"a repair copies every sound row into a new database; then {sync_advice}")
            return
        try:
            counts = salvage(path)
        except (*SQLITE_ERRORS, IndexFileError, OSError) as error:
            advice = f"delete the folder {path} or choose another output, then build the index again"
            yield Finding("damage", f"{problem}; nothing could be recovered: {error}", advice)
            return
        recovered = ", ".join(f"{count} {table}" for table, count in counts.items())
        yield Finding("damage", f"{problem}; recovered {recovered}", sync_advice, repaired=True)
    with closing(database.connect(path, write=repair)) as connection:
        yield from _check_rows(connection, path, repair)


def _structural_problem(path: Path) -> str | None:
    """Return the problem that SQLite has with its file, None if there is none."""
    try:
        with closing(database.connect(path)) as connection:
            lines = [str(line) for (line,) in connection.execute("PRAGMA integrity_check(5)")]
    except (*SQLITE_ERRORS, IndexFileError) as error:
        return f"the database cannot be read: {_problem(error)}"
    return None if lines == ["ok"] else f"the database is damaged: {'; '.join(lines)}"


def _check_rows(connection: sqlite3.Connection, path: Path, repair: bool) -> Iterator[Finding]:
    """Find rows with a wrong checksum, and rows that contradict each other; a repair removes them."""
    try:
        for table, names in drop_damaged(connection, repair).items():
            yield Finding("damage", f"{len(names)} damaged {table}: {listed(names)}", _ROW_ADVICE[table], repair)
        state = State.read(connection, str(path))
        if state is None:
            yield _unfinished(connection)
            return
        state.checked_manifest(str(path))
        for problem in repair_arrays(connection, state, str(path), repair):
            yield Finding("damage", problem, _ROW_ADVICE["meta"], repair)
        for problem in repair_relations(connection, state, str(path), repair):
            yield Finding("damage", problem, "run `lmm-classifier sync` to add what is missing", repair)
        for problem in repair_label_totals(connection, str(path), repair):
            yield Finding("damage", problem, "a repair writes them again", repair)
        for problem in repair_journal(connection, str(path), repair):
            yield Finding("damage", problem, _ROW_ADVICE["journal"], repair)
        if database.get_meta(connection, BUILD, str(path)) is not None:
            yield Finding("note", "a sync was interrupted", "run `lmm-classifier sync` again to resume it")
        rejected = connection.execute("SELECT count(*) FROM files WHERE kind <> ''").fetchone()[0]
        if rejected:
            yield Finding("note", f"{rejected} files of the dataset are not images", "`lmm-classifier sync` lists them")
    except (*SQLITE_ERRORS, IndexFileError) as error:
        advice = "build the index again; sound vectors are used again"
        yield Finding("damage", _problem(error), advice)


_ROW_ADVICE = {
    "vectors": "a repair removes them and their examples; then `lmm-classifier sync` encodes these images again",
    "examples": "a repair removes them; then `lmm-classifier sync` adds them again without encoding",
    "files": "a repair removes them; then `lmm-classifier sync` reads these files again",
    "removed": "a repair removes them; then `lmm-classifier sync` adds these examples again",
    "labels": "a repair writes them again",
    "dismissals": "a repair removes them; then audits list these findings again",
    "edits": "a repair removes them; then these edits cannot be undone",
    "journal": "a repair removes them; then these edits cannot be undone",
    "meta": "a repair removes them; then calibrate again, or, for a damaged transform, build again",
}


def _unfinished(connection: sqlite3.Connection) -> Finding:
    count = connection.execute("SELECT count(DISTINCT hash) FROM vectors").fetchone()[0]
    problem = f"the first build did not finish: it was interrupted after {count} images"
    return Finding("damage", problem, "run `lmm-classifier build` again to resume it")


def _check_derived_files(path: Path, repair: bool) -> Iterator[Finding]:
    """Find derived files that are damaged or of another version; a repair reads the index, which makes them again."""
    try:
        with database.reading(path) as connection:
            state = State.read(connection, str(path))
    except IndexFileError:
        return
    if state is None:
        return
    snapshot = read_snapshot(path, state.version)
    if snapshot is None and not has_snapshot(path, state.version) and read_snapshot(path) is not None:
        return  # they are of the version before an edit: whoever opens the index next makes new ones
    try:
        if snapshot is not None and snapshot.stamp == state.stamp:
            for encoder in range(len(snapshot.mapped)):
                snapshot.matrix(encoder)
            return
        problem = "the derived files are missing, damaged or of another version"
    except IndexFileError as error:
        problem = _problem(error)
    if repair:
        for file in (path / FOLDER).glob(f"{state.version}.*"):
            file.unlink()
        try:
            read_store(path)
        except LmmClassifierError as error:
            yield Finding(
                "damage",
                f"{problem}; derived files cannot be made again: {_problem(error)}",
                "run `lmm-classifier sync`",
            )
            return
    yield Finding("note", problem, "derived files are made again when the index is next opened", repair)


def _check_leftovers(path: Path, repair: bool) -> Iterator[Finding]:
    """Find temporary files of interrupted writers, and images added by hand that are not where they belong."""
    for problem, advice in find_leftovers(path, repair):
        yield Finding("note", problem, advice, repair)


def _check_image_files(path: Path, repair: bool) -> Iterator[Finding]:  # noqa: ARG001 - images are never changed
    """Check what the index refers to, if it can be read; else the findings so far say why not."""
    with suppress(LmmClassifierError):
        yield from _check_references(read_store(path))


def _check_references(contents: IndexContents) -> Iterator[Finding]:
    """Find images that are missing, and a transform that was fitted to other images."""
    try:
        require_inside(contents.paths, "the index", contents.manifest.has_images)
    except IndexFileError as error:
        yield Finding("damage", _problem(error), "build the index again")
    has_images = contents.manifest.has_images
    root = with_listing(contents.root) if has_images else None
    places = [
        (path, contents.file_of(path) if root is None or path.startswith(ADDED) else root / path)
        for path in contents.paths
        if has_images or path.startswith(ADDED)
    ]
    missing = [path for path, place in places if not exists(place)]
    problem = source_problem(contents.manifest.image_root) if has_images else ""
    if problem:
        yield Finding("note", problem, "classification works, but shows no examples")
    elif missing:
        yield Finding("note", f"{len(missing)} images are missing: {listed(missing)}", "a sync removes them")
    if not contents.transforms_are_current:
        advice = "run `lmm-classifier calibrate` to fit it to the current ones"
        yield Finding("note", "the transform was fitted to other images", advice)


def _problem(error: Exception) -> str:
    """Return what an error says, without its advice to call the doctor."""
    return _OWN_ADVICE.sub("", str(error)).rstrip(".")
