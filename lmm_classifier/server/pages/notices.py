"""Short sentences about edits, with which pages tell what was done and what can be undone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from starlette.requests import Request

from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.index.build.reports import Edit
from lmm_classifier.server.pages.forms import number
from lmm_classifier.server.problems import ProblemError
from lmm_classifier.server.state import state_of

NOTHING = "none"  # in the place of an edit, where nothing was left to undo
_AT_THE_END = "There is nothing more to undo."
_EMPTY = {
    "build": "The index was built",
    "import": "The index was imported",
}  # the journal has no list of what is in it


@dataclass(frozen=True, slots=True)
class Notice:
    """What was done, and what can be undone then."""

    text: str
    edit: int | None  # the edit that a button undoes: this one; after an undo, the newest that is left
    redo: int | None = None  # the undo that a button takes back


def notice_of(request: Request) -> Notice | None:
    """Return what the member `edit` of the query tells, None where it names no edit; reads the journal."""
    if request.query_params.get("edit") == NOTHING:
        return Notice(_AT_THE_END, None)
    edit = named_edit(request)
    if edit is None:
        return None
    text = f"{sentence(edit)}."
    if not edit.undoes:
        return Notice(text, None if edit.undone_by else edit.id)
    last = state_of(request).classifier.editor().last_edit()
    redo = None if edit.undone_by or edit.kind == "redo" else edit.id
    return Notice(f"{text} {_AT_THE_END}", None, redo) if last is None else Notice(text, last.id, redo)


def named_edit(request: Request) -> Edit | None:
    """Return the edit that the query names, None where it names none; reads the journal."""
    wanted = number(request.query_params.get("edit", ""))
    if not wanted:
        return None
    try:
        found = state_of(request).classifier.editor().edits(1, wanted + 1)
    except (LmmClassifierError, ProblemError):
        return None
    return found[0] if found and found[0].id == wanted else None


def sentence(edit: Edit) -> str:
    """Return what an edit did, such as `2 examples added`."""
    changes, parts = edit.changes, []
    for count, done in ((len(changes.added), "added"), (len(changes.removed), "removed")):
        if count:
            parts.append(f"{_examples(count)} {done}")
    for (former, label), count in Counter((former, label) for _, former, label in changes.relabeled).most_common(2):
        parts.append(f"{_examples(count)} relabeled from {former} to {label}")
    if changes.dismissed:
        parts.append(f"{_counted(changes.dismissed, 'finding')} called right")
    if changes.restored:
        parts.append(f"{_counted(changes.restored, 'finding')} listed again")
    others = len(changes.replaced) + len(changes.renamed)
    if others:
        parts.append(f"{_examples(others)} moved or replaced")
    text = ", ".join(parts) or _EMPTY.get(edit.kind, "Nothing changed")
    if edit.undoes:
        return f"{'Redone' if edit.kind == 'redo' else 'Undone'}: {text}"
    return text[0].upper() + text[1:]


def _examples(count: int) -> str:
    return _counted(count, "example")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
