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


@dataclass(frozen=True, slots=True)
class Notice:
    """What was done, and the edit that can be undone."""

    text: str
    edit: int | None


def notice_of(request: Request) -> Notice | None:
    """Return what the member `edit` of the query tells, None where it names no edit; reads the journal."""
    edit = named_edit(request)
    return None if edit is None else Notice(f"{sentence(edit)}.", None if edit.undone_by else edit.id)


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
    text = ", ".join(parts) or "Nothing changed"
    return f"Undone: {text}" if edit.undoes else text[0].upper() + text[1:]


def _examples(count: int) -> str:
    return _counted(count, "example")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
