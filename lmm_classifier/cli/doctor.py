"""The job of `lmm-classifier doctor`: tell a person what is wrong with an index."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from lmm_classifier.cli.console import printable
from lmm_classifier.index.doctor import Finding, examine


def run_doctor(path: Path, repair: bool, as_json: bool) -> int:
    """Check, and mend if asked; 0 if all is well (now), 3 if something is to be said, 1 if it is damaged."""
    findings = examine(path, repair)
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in findings]) + "\n")
    else:
        lines = [_line(one) for one in findings] or [f"{path} is sound"]
        sys.stdout.write("\n".join(printable(line) for line in lines) + "\n")
    open_ones = [one for one in findings if not one.mended]
    if any(one.severity == "damage" for one in open_ones):
        return 1
    return 3 if open_ones else 0


def _line(one: Finding) -> str:
    return f"{'mended' if one.mended else one.severity}: {one.what}; {one.advice}"
