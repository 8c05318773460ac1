"""What a durable index keeps besides its examples, as files for other programs: edits, runs, answers and images."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.index.build.reports import Edit
from lmm_classifier.index.formats import is_durable
from lmm_classifier.index.storage.editing.stored_rows import opened_rows
from lmm_classifier.index.storage.editing.trash import Trash
from lmm_classifier.review.active_runs import ActiveRuns
from lmm_classifier.review.images import UPLOADS
from lmm_classifier.review.storage.answer_log import AnswerLog
from lmm_classifier.review.storage.database import ReviewDatabase
from lmm_classifier.review.storage.run_store import RunStore
from lmm_classifier.review.stored_runs import has_runs

_PAGE = 200  # rows in memory


def export_history(index_folder: IndexLocation, output: Path) -> dict[str, int]:
    """Write the history of an index into a new folder, whole or not at all; return the number of items of each part.

    `edits.jsonl`, `runs.jsonl` and `answers.jsonl` have the newest first, `results.jsonl` an image of a run a line with
    what was decided about it. `added`, `trash` and `uploads` have copies of the images that were added by hand, of
    those among them that were removed, and of those that were uploaded for runs.

    Raises:
        OutputError: the index is an `.npz` file, which has no history; or there is such a folder, or it cannot be
            written.
    """
    if not is_durable(index_folder):
        raise OutputError(f"{index_folder} is no durable index, so it has no history.")
    if output.exists() or output.is_symlink():
        raise OutputError(f"{output} exists already. Name a new folder.")
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.absolute().parent))
        try:
            counts = _write(Path(index_folder), temporary)
            temporary.rename(output)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror or type(error).__name__}.") from error
    return counts


def _write(index_folder: Path, output: Path) -> dict[str, int]:
    counts = {"edits": _write_lines(output / "edits.jsonl", _edits(index_folder))}
    parts = {"runs": _runs, "results": _results, "answers": _answers}
    if has_runs(index_folder):
        with closing(ReviewDatabase(index_folder)) as database, database.reading():  # one version for all
            for name, lines in parts.items():
                counts[name] = _write_lines(output / f"{name}.jsonl", lines(database))
    else:
        counts |= {name: _write_lines(output / f"{name}.jsonl", iter(())) for name in parts}
    trash = Trash(index_folder)
    for name, folder in {"added": trash.added, "trash": trash.folder, "uploads": index_folder / UPLOADS}.items():
        counts[name] = _copy(folder, output / name)
    return counts


def _edits(index_folder: Path) -> Iterator[dict[str, Any]]:
    before = None
    with opened_rows(index_folder) as rows:
        while found := rows.edits(_PAGE, before):
            edits = [Edit.of(*edit) for edit in found]
            yield from (edit.to_dict() for edit in edits)
            before = edits[-1].id


def _runs(database: ReviewDatabase) -> Iterator[dict[str, Any]]:
    active = ActiveRuns(database.folder)
    for run in RunStore(database).runs():
        yield {**run.to_dict(), "state": active.state_of(run)}


def _results(database: ReviewDatabase) -> Iterator[dict[str, Any]]:
    store = RunStore(database)
    for run in store.runs():
        change = 0
        while items := store.after(run.id, change, _PAGE):
            yield from ({**item.to_dict(), "run": run.id} for item in items)
            change = items[-1].change


def _answers(database: ReviewDatabase) -> Iterator[dict[str, Any]]:
    before = None
    while answers := AnswerLog(database).answers(None, _PAGE, before):
        yield from (answer.to_dict() for answer in answers)
        before = answers[-1].id


def _write_lines(file: Path, values: Iterator[dict[str, Any]]) -> int:
    count = 0
    with file.open("w", encoding="ascii") as stream:
        for value in values:
            stream.write(json.dumps(value) + "\n")
            count += 1
        stream.flush()
        os.fsync(stream.fileno())
    return count


def _copy(folder: Path, output: Path) -> int:
    """Copy the images of a folder; one that is removed meanwhile is left out."""
    output.mkdir()
    count = 0
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        if file.is_file() and not file.name.startswith("."):
            try:
                shutil.copyfile(file, output / file.name)
            except FileNotFoundError:
                continue
            count += 1
    return count
