"""The command `undo`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import IndexOption, JsonFlag, NoteOption

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def undo(
    edit: Annotated[
        int | None, typer.Argument(min=1, help="Its number, as `edits` lists it. [default: the newest]")
    ] = None,
    index: IndexOption = None,
    note: NoteOption = "",
    as_json: JsonFlag = False,
    *,
    config: PipelineConfig,
) -> int:
    """Undo an edit of an index.

    Without a number, the newest edit is undone that is not undone yet and is no undo itself. Undoing an undo does the
    edit again. An edit is refused whose examples changed since.

    Exit codes: 0 done, 1 failed.
    """
    from lmm_classifier.cli.edit_output import ORIGIN, print_edit
    from lmm_classifier.index.build.editor import IndexEditor

    path = index or config.retrieval.index_path
    return print_edit(path, IndexEditor(path, config).undo(edit, note=note, origin=ORIGIN), as_json)
