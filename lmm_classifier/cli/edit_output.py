"""What the editing commands share: which examples are meant, and how changes are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from lmm_classifier.cli.console import escape_for_terminal
from lmm_classifier.cli.given_configuration import complete_commands
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.core.progress import Skipped
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.build.reports import Changes, EditReport

ORIGIN = "command line"  # of edits, in the journal
_LISTED = 10  # ids of a kind on the terminal


def named_examples(editor: IndexEditor, examples: Sequence[str] | None, label: str | None) -> list[str]:
    """Return the ids of examples named by id or by label; raise IndexFileError where none is named."""
    if not examples and label is None:
        raise IndexFileError("No example is named. Give the ids of examples, or --label for all of a label.")
    if label is None:
        return list(examples or ())
    of_label = editor.examples_of(label)
    if not of_label:
        raise IndexFileError(f"No example has the label {label!r}")
    return [*(examples or ()), *of_label]


def print_edit(index: IndexLocation, report: EditReport, as_json: bool) -> int:
    """Print what an edit did, and return the exit code: 3 if some examples could not be edited."""
    if as_json:
        sys.stdout.write(json.dumps(asdict(report)) + "\n")
    else:
        print_changes(index, report.changes, report.images, report.skipped, report.stale, report.edit)
    return 3 if any(skipped.kind != "present" for skipped in report.skipped) else 0


def print_changes(
    index: IndexLocation,
    changes: Changes,
    count: int,
    skipped: Sequence[Skipped],
    stale: Sequence[str],
    edit: int | None = None,
) -> None:
    """Print the changes of an index, what was skipped, what was fitted to other examples, and the id of the edit."""
    lines = [*change_lines(changes), f"{changes.unchanged} unchanged, {changes.encoded} encoded"]
    lines += [f"not done: {file.path}: {file.reason}" for file in skipped]
    lines += [f"{index}: {count} examples", *stale_lines(stale)]
    lines += [] if edit is None else [f"edit {edit}; `lmm-classifier undo {edit}` takes it back"]
    sys.stdout.write("\n".join(escape_for_terminal(line) for line in lines) + "\n")


def stale_lines(stale: Sequence[str]) -> list[str]:
    """Return a line for each part of an index that was fitted to other examples."""
    return [complete_commands(f"stale: {part}") for part in stale]


def change_lines(changes: Changes) -> Iterator[str]:
    """Yield a line for each kind of change."""
    kinds = {
        "added": changes.added,
        "removed": changes.removed,
        "replaced": changes.replaced,
        "renamed": [f"{before} -> {now}" for before, now in changes.renamed],
        "relabeled": [f"{path}: {before} -> {now}" for path, before, now in changes.relabeled],
        "left out, because they were removed by hand": changes.left_out,
    }
    for kind, names in kinds.items():
        if names:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            yield f"{len(names)} {kind}: {', '.join(names[:_LISTED])}{more}"
    if changes.dismissed:
        yield f"{changes.dismissed} findings dismissed"
    if changes.restored:
        yield f"{changes.restored} dismissals taken back"
