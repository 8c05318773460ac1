"""The command `report`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.cli.console import printable
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.files import replacing_file
from lmm_classifier.evaluation.reports.rerank_page import HEAD, write_rerank_page
from lmm_classifier.index.formats import read_index
from lmm_classifier.rerank.summary import figures, frontier_rows, pair_rows, summary


def run_report(path: Path, html_to: Path | None, json_to: Path | None) -> int:
    """Print the figures, and write what was asked for; 0 when done. Raises CalibrationError where there are none."""
    contents = read_index(path)
    calibration = Calibration.of(contents)
    found = calibration.second_look if calibration else None
    if found is None:
        raise CalibrationError(
            f"nothing was measured of a second look on {path}: run `lmm-classifier calibrate {path} --rerank`"
        )
    if json_to is not None:
        said = {**figures(found), "identity": found.identity}
        said["frontier"] = [dict(zip(("calls_per_1000", "gate", "threshold", "random", "oracle"), map(float, row)))
                            for row in frontier_rows(found.outcomes)]  # fmt: skip
        with replacing_file(json_to) as temporary:
            temporary.write_text(json.dumps(said, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if html_to is not None:
        write_rerank_page(html_to, found, contents.file_of)
    lines = [
        *summary(found),
        "",
        "accuracy by calls, asking in the order of:",
        *_aligned([HEAD, *frontier_rows(found.outcomes)]),
    ]
    if pairs := pair_rows(found, 5):
        lines += ["", "least told apart (true, false, % preferred rightly): "]
        lines += [f"  {true} / {false}: {rate}" for true, false, rate in pairs]
    if html_to is not None:
        lines += ["", f"page: {html_to}"]
    sys.stdout.write("\n".join(printable(line) for line in lines) + "\n")
    return 0


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
