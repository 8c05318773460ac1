"""The command `chunks`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lmm_classifier.cli.options import JsonFlag

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def chunks(
    action: Annotated[
        Literal["verify", "gc"],
        typer.Argument(help="verify: check each chunk. gc: delete those that no run needs, if older than a day."),
    ],
    table: Annotated[str, typer.Argument(metavar="PATH|URL", help="Where --output of the build led to.")],
    as_json: JsonFlag = False,
    *,
    config: PipelineConfig,  # noqa: ARG001 - every command has one
) -> int:
    """Check the chunks of a table, or delete those that no run needs.

    Exit codes: 0 done, 3 some chunks are damaged, 1 failed.
    """
    if action == "gc":
        from lmm_classifier.distributed.maintenance import delete_unneeded

        deleted = delete_unneeded(table)
        text = f"{deleted['files']} files deleted, {deleted['bytes']:,} bytes"
        sys.stdout.write(f"{json.dumps(deleted) if as_json else text}\n")
        return 0
    return _verify(table, as_json)


def _verify(table: str, as_json: bool) -> int:
    from lmm_classifier.cli.console import escape_for_terminal
    from lmm_classifier.distributed.maintenance import ChunkProblem, verify_chunks

    good, problems = 0, list[ChunkProblem]()
    for found in verify_chunks(table):
        if isinstance(found, ChunkProblem):
            problems.append(found)
        else:
            good += 1
    if as_json:
        sys.stdout.write(json.dumps({"good": good, "damaged": {p.stem: p.reason for p in problems}}) + "\n")
    else:
        lines = [f"chunk {problem.stem}: {problem.reason}" for problem in problems]
        text = "\n".join([*lines, f"{good} chunks are good, {len(problems)} damaged"])
        sys.stdout.write(escape_for_terminal(text) + "\n")
    if problems:
        sys.stderr.write("Delete the files of damaged chunks and run the build again: it makes them anew.\n")
    return 3 if problems else 0
