"""Check the stored runs of an index, and repair them: what is damaged goes, what is sound stays."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.index.doctor import Finding
from lmm_classifier.index.leftovers import listed
from lmm_classifier.index.storage.database import checksum
from lmm_classifier.review.decisions import LOCK
from lmm_classifier.review.images import UPLOADS, UploadedFiles
from lmm_classifier.review.storage.database import FILE, DamagedRunsError, ReviewDatabase
from lmm_classifier.review.storage.run_store import RunStore
from lmm_classifier.review.storage.tables import DECISIONS, ITEMS, RESULTS, RUNS, TABLES, VECTORS, Table

_ASIDE = f"{FILE}.damaged"
# rows that cannot be used without their row in another table: of `items` without a run, and so on
_ORPHANS = (
    (ITEMS, "run", RUNS),
    *((table, "item", ITEMS) for table in (RESULTS, VECTORS, DECISIONS)),
)


def check_runs(index_folder: IndexLocation, repair: bool = False) -> list[Finding]:
    """Check the runs that are stored next to an index, and the images that were uploaded for them.

    Args:
        index_folder: the folder of the index.
        repair: remove damaged rows with what depends on them, and files that no run needs. A file that cannot be read
            as a database of runs is renamed; nothing in it is deleted.

    Returns:
        The problems; an empty list if the runs are sound, or if there are none.

    Raises:
        ReviewError: an answer is being taken while the runs are to be repaired.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier.review.checks import check_runs
        >>> check_runs(Path("index"))
        []
    """
    if not isinstance(index_folder, Path) or not (index_folder / FILE).is_file():
        return []
    lock = FileLock(index_folder / LOCK, timeout=0)
    if repair:
        try:
            lock.acquire()
        except Timeout:
            raise ReviewError("An answer is being edited into the index. Wait for it, and repair then.") from None
    try:
        return list(_findings(index_folder, repair))
    finally:
        lock.release()


def _findings(folder: Path, repair: bool) -> Iterator[Finding]:
    try:
        with closing(ReviewDatabase(folder)) as database:
            with database.reading() as connection:
                problem = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            if problem != "ok":
                raise DamagedRunsError(f"{folder / FILE} is damaged: {problem}")
            damaged = list(_check_rows(database, repair))
            yield from damaged
            if damaged and not repair:
                return  # what is left cannot be read
            runs = RunStore(database)
            yield from _check_folders(runs)
            yield from _check_uploads(folder, runs, repair)
    except DamagedRunsError as error:
        advice = f"a repair renames it to {_ASIDE}; the index is not concerned, and the images can be classified again"
        if repair:
            _set_aside(folder)
        yield Finding("damage", str(error).rstrip("."), advice, repair)
    except ReviewError as error:
        yield Finding("damage", str(error).rstrip("."), "the runs were not checked")


def _set_aside(folder: Path) -> None:
    """Rename a file that cannot be used as a whole, with its log."""
    for ending in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            (folder / f"{FILE}{ending}").replace(folder / f"{_ASIDE}{ending}")


def _check_rows(database: ReviewDatabase, repair: bool) -> Iterator[Finding]:
    """Yield the tables with damaged rows, and those with rows whose item or run is gone."""
    with database.writing() if repair else database.reading() as connection:
        for table in TABLES:
            damaged = list(_damaged(connection, table))
            if damaged:
                for key in damaged if repair else ():
                    where = " AND ".join(f"{name} = ?" for name in _key(table))
                    connection.execute(f"DELETE FROM {table.name} WHERE {where}", key)
                advice = "a repair removes them; images without a result are classified again when their run is resumed"
                yield Finding("damage", f"{len(damaged)} damaged rows of {table.name} of runs", advice, repair)
        for table, column, owner in _ORPHANS:
            yield from _check_orphans(connection, table, f"{column} NOT IN (SELECT id FROM {owner.name})", repair)
        yield from _check_orphans(connection, ITEMS, "id NOT IN (SELECT item FROM results)", repair)
        if repair:  # the items are gone, and so is what else refers to them
            for name in (VECTORS.name, DECISIONS.name, "changes"):
                connection.execute(f"DELETE FROM {name} WHERE item NOT IN (SELECT id FROM {ITEMS.name})")


def _check_orphans(connection: sqlite3.Connection, table: Table, where: str, repair: bool) -> Iterator[Finding]:
    (count,) = connection.execute(f"SELECT count(*) FROM {table.name} WHERE {where}").fetchone()
    if count:
        if repair:
            connection.execute(f"DELETE FROM {table.name} WHERE {where}")
        problem = f"{count} rows of {table.name} of runs refer to a row that is gone"
        yield Finding("damage", problem, "a repair removes them", repair)


def _damaged(connection: sqlite3.Connection, table: Table) -> Iterator[tuple[object, ...]]:
    """Yield the keys of the rows whose checksum is of other values."""
    names = table.names.split(", ")
    places = [names.index(name) for name in _key(table)]
    for row in connection.execute(f"SELECT {table.names} FROM {table.name}"):
        if checksum(*row[:-1]) != row[-1]:
            yield tuple(row[place] for place in places)


def _key(table: Table) -> list[str]:
    return table.key.split(", ") if table.key else ["id"]


def _check_folders(runs: RunStore) -> Iterator[Finding]:
    """Yield runs whose images are gone."""
    for run in runs.runs():
        source = run.source
        if source["kind"] == "folder" and run.open and not Path(source["folder"]).exists():
            problem = f"the folder of run {run.id} is not there: {source['folder']}"
            yield Finding(
                "note", problem, f"its {run.open} open images cannot be taught; delete the run or bring it back"
            )


def _check_uploads(folder: Path, runs: RunStore, repair: bool) -> Iterator[Finding]:
    """Yield files that were uploaded for runs that are gone; those of the last hour may belong to an upload."""
    uploads = UploadedFiles(folder)
    with uploads.alone() if repair else nullcontext():
        unwanted = uploads.others(runs.uploaded_hashes(), time.time())
        if repair:
            for file in unwanted:
                file.unlink(missing_ok=True)
    if unwanted:
        problem = f"{len(unwanted)} files in {UPLOADS} belong to no run: {listed(file.name for file in unwanted)}"
        yield Finding("note", problem, "a repair removes them", repair)
