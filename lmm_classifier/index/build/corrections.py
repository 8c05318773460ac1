"""Apply a table of corrections to a durable index, as one edit: keep, relabel or remove examples.

`keep` changes nothing. `dismiss` says that the label is right, so that no audit asks again.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

from lmm_classifier import __version__
from lmm_classifier.core.csv_cells import unescape_cell
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.index_location import index_location
from lmm_classifier.core.paths import expand_home
from lmm_classifier.index.build.chosen_examples import require_expected, require_some_remain
from lmm_classifier.index.build.edit_history import edit_report, require_manifest
from lmm_classifier.index.build.new_labels import check_new, checked_label
from lmm_classifier.index.build.reports import Changes, EditReport
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.formats import editable_path
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.editing.edits import NewEdit, edit_time
from lmm_classifier.index.storage.records import provenance
from lmm_classifier.index.storage.store import Store

COLUMNS = ("path", "action", "label")  # a table may have more columns, in any order
ACTIONS = ("keep", "dismiss", "relabel", "remove")
_LISTED = 20  # problems named in one message


@dataclass(frozen=True, slots=True)
class Correction:
    """What shall become of one example; `label` is the new label of those to relabel."""

    path: str
    action: str
    label: str
    line: int  # where it is in the table, from 1


def read_corrections(file: Path | str) -> list[Correction]:
    """Read a table of corrections: CSV with the columns `path`, `action` and `label`.

    Separators may be commas, semicolons or tabs, as spreadsheets write them. Rows without any text are skipped.

    Raises:
        DatasetError: if it is no such table. The message names every bad row with its line.
    """
    try:
        text = expand_home(file).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror or error}") from error
    if "\0" in text:
        raise DatasetError(f"{file} is not a table in UTF-8. Save it as CSV in UTF-8.")
    head = text.split("\n", 1)[0]
    rows = csv.reader(StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    try:
        numbered = _numbered(rows)
        names = [name.strip() for name in next(numbered, (1, []))[1]]
        if missing := [name for name in COLUMNS if names.count(name) != 1]:
            raise DatasetError(
                f"{file}: expected one column each of {', '.join(COLUMNS)}, but {', '.join(missing)} is missing or "
                "there twice."
            )
        corrections, problems = [], []
        for line, cells in numbered:
            if len(cells) != len(names):
                problems.append(f"line {line}: {len(cells)} cells, expected {len(names)}")
                continue
            row = dict(zip(names, map(unescape_cell, cells)))
            corrections.append(Correction(row["path"], row["action"].strip().lower(), row["label"], line))
    except csv.Error as error:
        raise DatasetError(f"{file}, line {rows.line_num}: not a CSV file ({error}).") from None
    _raise_if_any([*problems, *_contradictions(corrections)], file)
    return corrections


def apply_corrections(
    index_path: Path | str,
    corrections: Sequence[Correction],
    unknown_label: str = "unknown",
    *,
    expect: Mapping[str, str] | None = None,
    note: str = "",
    origin: str = "",
) -> EditReport:
    """Apply corrections to a durable index in one commit, or none of them.

    Args:
        index_path: a durable index (folder).
        corrections: what `read_corrections` returned.
        unknown_label: the label of images that are called unknown, which no example may have.
        expect: for ids the labels that the caller saw. ConflictError is raised where one differs now.
        note: why; stored in the journal.
        origin: by whom or by which program; stored in the journal.

    Raises:
        DatasetError: if a row names no example of the index, if a label cannot be one, or if no example would remain.
            Nothing is changed then.
        IndexFileError: if there is no durable index at `index_path`.
    """
    path = editable_path(index_location(index_path))
    with Store(path) as store:
        require_expected(store, expect)
        manifest = require_manifest(store)
        records = {row.path: record for row in corrections if (record := store.record(row.path)) is not None}
        missing = [row for row in corrections if row.path not in records]
        _raise_if_any([f"line {row.line}: {row.path!r} is no example of the index" for row in missing], path)
        chosen = {action: [row for row in corrections if row.action == action] for action in ACTIONS}
        removed = [records[row.path] for row in chosen["remove"]]
        labels = _checked_labels(corrections, unknown_label, path, store.label_counts())
        wanted = [(records[row.path], labels[row.label]) for row in chosen["relabel"]]
        former = [(record, label) for record, label in wanted if record.label != label]
        require_some_remain(store, len(removed))
        now = edit_time(datetime.now(UTC))
        right = [records[row.path] for row in chosen["dismiss"]]
        change = Change(
            put=[replace(record, label=label, provenance=provenance(record.path, label)) for record, label in former],
            drop=[record.path for record in removed],
            removed=[(record.content_hash, record.path) for record in removed],
            dismissed=[replace(Dismissal.of("label", [(r.content_hash, r.label)]), time=now) for r in right],
        )
        edit = None
        if removed or former or right:
            entry = NewEdit("corrections", origin, note)
            edit = store.commit(change, replace(manifest, program=__version__), entry)
        changes = Changes(
            removed=tuple(change.drop),
            relabeled=tuple((record.path, record.label, label) for record, label in former),
            dismissed=len(right),
        )
        return edit_report(store, changes, (), edit)


def _checked_labels(
    corrections: Sequence[Correction], unknown_label: str, path: Path, known: Iterable[str]
) -> dict[str, str]:
    """Return the normal form of each new label; raise DatasetError with the line of each that cannot be one."""
    labels, problems = dict[str, str](), []
    for row in corrections:
        if row.action == "relabel" and row.label not in labels:
            try:
                label = checked_label(row.label, unknown_label)
                check_new([label], [*known, *labels.values()])
                labels[row.label] = label
            except DatasetError as error:
                problems.append(f"line {row.line}: {error}")
    _raise_if_any(problems, path)
    return labels


def _numbered(rows: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield rows that hold any text, with the line on which each begins."""
    begins = 1
    for cells in rows:
        if any(cell.strip() for cell in cells):
            yield begins, cells
        begins = rows.line_num + 1  # type: ignore[attr-defined]


def _contradictions(corrections: Sequence[Correction]) -> Iterator[str]:
    """Yield what is wrong with rows, whatever the index holds."""
    first: dict[str, int] = {}
    for row in corrections:
        if row.action not in ACTIONS:
            yield f"line {row.line}: the action is {row.action!r}, expected {', '.join(ACTIONS[:-1])} or {ACTIONS[-1]}"
        elif row.action == "relabel" and (not row.label.strip() or "\0" in row.label):
            yield f"line {row.line}: no label to give to {row.path!r}"
        if row.path in first:
            yield f"line {row.line}: {row.path!r} is on line {first[row.path]} already"
        first.setdefault(row.path, row.line)


def _raise_if_any(problems: Sequence[str], source: Path | str) -> None:
    if problems:
        more = f"; and {len(problems) - _LISTED} more" if len(problems) > _LISTED else ""
        listed = "; ".join(problems[:_LISTED])
        raise DatasetError(f"{source}: {listed}{more}. Nothing was changed.")
