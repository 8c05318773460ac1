"""The command `dismiss`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import ExamplesArgument, IndexOption, JsonFlag, NoteOption

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.index.build.editor import IndexEditor


class FindingOption(StrEnum):
    """Findings of an audit that can be dismissed."""

    LABEL = "label"
    OUTLIER = "outlier"
    DUPLICATES = "duplicates"


def dismiss(
    examples: ExamplesArgument = None,
    finding: Annotated[
        FindingOption,
        typer.Option(help="Each label is right; each image belongs there; or all named copies may stay together."),
    ] = FindingOption.LABEL,
    restore: Annotated[bool, typer.Option("--restore", help="Take the dismissals of these examples back.")] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List what was dismissed.")] = False,
    index: IndexOption = None,
    note: NoteOption = "",
    as_json: JsonFlag = False,
    *,
    config: PipelineConfig,
) -> int:
    """Call findings of an audit right.

    Later audits leave them out, until an image or a label in them changes. A sync and new names of files change
    nothing.
    """
    from lmm_classifier.cli.edit_output import ORIGIN, named_examples, print_edit
    from lmm_classifier.index.build.editor import IndexEditor

    path = index or config.retrieval.index_path
    editor = IndexEditor(path, config)
    if list_all:
        return _list(editor, as_json)
    findings = editor.findings_about(finding.value, named_examples(editor, examples, None))
    if restore:
        contents = {content_hash for asked in findings for content_hash, _ in asked.examples}
        stored = [d for d in editor.dismissals() if d.finding == finding.value]
        back = [d for d in stored if any(content_hash in contents for content_hash, _ in d.examples)]
        return print_edit(path, editor.restore(back, note=note, origin=ORIGIN), as_json)
    return print_edit(path, editor.dismiss(findings, note=note, origin=ORIGIN), as_json)


def _list(editor: IndexEditor, as_json: bool) -> int:
    from lmm_classifier.cli.console import escape_for_terminal

    dismissals = editor.dismissals()
    if as_json:
        sys.stdout.write(json.dumps([asdict(dismissal) for dismissal in dismissals]) + "\n")
        return 0
    ids = editor.ids_of_contents({content_hash for d in dismissals for content_hash, _ in d.examples})
    lines = [
        f"{d.finding}  {d.time[:10]}  "
        + ", ".join(
            f"{' = '.join(ids[content_hash]) or f'no example ({content_hash[:16]})'}{label and f' ({label})'}"
            for content_hash, label in d.examples
        )
        for d in dismissals
    ]
    sys.stdout.write("\n".join(map(escape_for_terminal, lines or ["nothing was dismissed"])) + "\n")
    return 0
