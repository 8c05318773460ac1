"""The command `doctor`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import IndexArgument, JsonFlag

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def doctor(
    index: IndexArgument = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Repair what can be repaired; sound parts stay as they are.")
    ] = False,
    as_json: JsonFlag = False,
    *,
    config: PipelineConfig,
) -> int:
    """Check an index, and repair it.

    Every part is checked, the runs that a server keeps there too. Each finding says what is wrong and what to do.

    Exit codes: 0 sound, 3 with notes, 1 damaged.
    """
    from dataclasses import asdict

    from lmm_classifier.cli.console import escape_for_terminal
    from lmm_classifier.cli.given_configuration import complete_commands
    from lmm_classifier.index.doctor import check_index
    from lmm_classifier.review.checks import check_runs

    path = index or config.retrieval.index_path
    findings = check_index(path, repair) + check_runs(path, repair)
    if as_json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings]) + "\n")
    else:
        lines = [
            f"{'repaired' if finding.repaired else finding.severity}: {finding.what}; {finding.advice}"
            for finding in findings
        ]
        sys.stdout.write(
            "\n".join(escape_for_terminal(complete_commands(line)) for line in lines or [f"{path}: sound"]) + "\n"
        )
        if any(finding.advice.startswith("a repair ") and not finding.repaired for finding in findings):
            sys.stdout.write("The option --repair does a repair.\n")
    remaining = [finding for finding in findings if not finding.repaired]
    if any(finding.severity == "damage" for finding in remaining):
        return 1
    return 3 if remaining else 0
