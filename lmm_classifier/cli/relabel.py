"""The command `relabel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import ExamplesArgument, IndexOption, JsonFlag, LabelOption, NoteOption

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def relabel(
    to: Annotated[str, typer.Option(help="The new label.")],
    examples: ExamplesArgument = None,
    label: LabelOption = None,
    index: IndexOption = None,
    note: NoteOption = "",
    as_json: JsonFlag = False,
    *,
    config: PipelineConfig,
) -> int:
    """Correct the label of examples.

    `sync` keeps the new label until the file moves to another folder. `--label` alone renames a label, or merges it
    with another one.

    Exit codes: 0 done, 3 some were not in the index, 1 failed.
    """
    from lmm_classifier.cli.edit_output import ORIGIN, named_examples, print_edit
    from lmm_classifier.index.build.editor import IndexEditor

    path = index or config.retrieval.index_path
    editor = IndexEditor(path, config)
    if label is not None and not examples:
        return print_edit(path, editor.rename_label(label, to, note=note, origin=ORIGIN), as_json)
    chosen = named_examples(editor, examples, label)
    return print_edit(path, editor.relabel(chosen, to, note=note, origin=ORIGIN), as_json)
