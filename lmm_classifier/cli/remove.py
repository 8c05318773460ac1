"""The command `remove`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmm_classifier.cli.options import ExamplesArgument, IndexOption, JsonFlag, LabelOption, NoteOption

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def remove(
    examples: ExamplesArgument = None,
    label: LabelOption = None,
    index: IndexOption = None,
    note: NoteOption = "",
    as_json: JsonFlag = False,
    *,
    config: PipelineConfig,
) -> int:
    """Remove examples from an index.

    Image files of the dataset stay. `sync` does not bring the examples back, `add` does.

    Exit codes: 0 done, 3 some were not in the index, 1 failed.
    """
    from lmm_classifier.cli.edit_output import ORIGIN, named_examples, print_edit
    from lmm_classifier.index.build.editor import IndexEditor

    path = index or config.retrieval.index_path
    editor = IndexEditor(path, config)
    return print_edit(path, editor.remove(named_examples(editor, examples, label), note=note, origin=ORIGIN), as_json)
