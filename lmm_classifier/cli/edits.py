"""The command `edits`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import IndexArgument, JsonFlag

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.index.build.reports import Edit


def edits(
    index: IndexArgument = None,
    limit: Annotated[int, typer.Option(min=1, help="Edits to list, the newest first.")] = 20,
    before: Annotated[int | None, typer.Option(min=1, help="List only edits before this one.")] = None,
    purge_before: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
            help="Forget the edits before this day, and delete their images in the trash. They cannot be undone then.",
        ),
    ] = None,
    as_json: JsonFlag = False,
    *,
    config: PipelineConfig,
) -> int:
    """List the edits of an index, or forget old ones."""
    from dataclasses import asdict

    from lmm_classifier.cli.console import escape_for_terminal
    from lmm_classifier.index.build.editor import IndexEditor

    editor = IndexEditor(index or config.retrieval.index_path, config)
    if purge_before is not None:
        purged = editor.purge(purge_before)
        text = (
            f"{purged.edits} edits forgotten, {purged.images} images ({purged.bytes:,} bytes) and the vectors of "
            f"{purged.contents} images deleted"
        )
        sys.stdout.write((json.dumps(asdict(purged)) if as_json else text) + "\n")
        return 0
    listed = editor.edits(limit, before)
    older = editor.count_edits(listed[-1].id) if listed else 0
    more = f"{older} more: --before {listed[-1].id} lists older ones, --limit sets how many" if older else ""
    if as_json:
        sys.stdout.write(json.dumps([edit.to_dict() for edit in listed]) + "\n")
        sys.stderr.write(more and f"{more}\n")
    else:
        lines = [line for edit in listed for line in _lines(edit)] or ["no edits"]
        lines += [more] if more else []
        sys.stdout.write("\n".join(map(escape_for_terminal, lines)) + "\n")
    return 0


def _lines(edit: Edit) -> Iterator[str]:
    """Yield a head and a line for each kind of change."""
    from lmm_classifier.cli.edit_output import change_lines

    relations = [f"undoes {edit.undoes}"] if edit.undoes else []
    relations += [f"undone by {edit.undone_by}"] if edit.undone_by else []
    words = [f"{edit.id}", f"{edit.time.astimezone():%Y-%m-%d %H:%M:%S}", edit.kind, *relations]
    words += [text for text in (edit.origin, edit.note) if text]
    yield "  ".join(words)
    yield from (f"    {line}" for line in change_lines(edit.changes))
