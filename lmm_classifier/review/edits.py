"""The edits of the index that answers make: the only place of the review that changes an index."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmm_classifier.data.places import Place
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.storage.reader import read_store


@dataclass(frozen=True)
class Taught:
    """What an edit added: its number in the journal of the index, and the ids of the examples."""

    edit: int | None
    examples: tuple[str, ...]


def teach(editor: IndexEditor, files: Sequence[Place], label: str, origin: str) -> Taught:
    """Add image files as examples of a label, in one edit; the journal of the index shows its origin."""
    report = editor.add(files, label, origin=origin)
    return Taught(report.edit, report.changes.added)


def take_back(editor: IndexEditor, taught: Taught, origin: str) -> None:
    """Undo an edit; raise ConflictError where its examples changed since."""
    if taught.edit is not None:
        editor.undo(taught.edit, origin=origin)


def edit_of(editor: IndexEditor, origin: str) -> int | None:
    """Return the newest edit of an origin that was not undone; None where there is none."""
    return next((edit.id for edit in editor.edits() if edit.origin == origin and edit.undone_by is None), None)


def examples_of(index_folder: Path, hashes: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return the id and the label of the example with each of some contents, as the index has it now."""
    contents = read_store(index_folder)
    return {
        digest: (path, label)
        for digest, path, label in zip(contents.hashes, contents.paths, contents.labels)
        if digest in hashes
    }
