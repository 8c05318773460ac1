"""The job of `lmm-classifier report`: what the second look is worth on this corpus, as measured by `calibrate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from lmm_classifier.atomic import replacing_file
from lmm_classifier.calibrated import Calibration
from lmm_classifier.charts import calls_chart
from lmm_classifier.console import printable
from lmm_classifier.errors import CalibrationError
from lmm_classifier.index.forms import read_index
from lmm_classifier.page import Section, Thumbnails, table, write_page
from lmm_classifier.second_look import SecondLook
from lmm_classifier.second_look_report import figures, frontier, frontier_rows, pair_rows, summary

_HEAD = ["calls per 1000", "by expected gain, %", "by a threshold, %", "anywhere, %", "oracle, %"]


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
        _write_page(html_to, found, contents.file_of)
    lines = [
        *summary(found),
        "",
        "accuracy by calls, asking in the order of:",
        *_aligned([_HEAD, *frontier_rows(found.outcomes)]),
    ]
    if pairs := pair_rows(found, 5):
        lines += ["", "least told apart (true, false, % preferred rightly): "]
        lines += [f"  {true} / {false}: {rate}" for true, false, rate in pairs]
    if html_to is not None:
        lines += ["", f"page: {html_to}"]
    sys.stdout.write("\n".join(printable(line) for line in lines) + "\n")
    return 0


def _write_page(path: Path, found: SecondLook, file_of: Callable[[str], Path]) -> None:
    lines = frontier(found.outcomes)
    drawn = calls_chart(
        {
            "gate": (lines["calls"], lines["gate"]),
            "threshold": (lines["threshold_calls"], lines["threshold"]),
            "random": (lines["calls"], lines["random"]),
            "oracle": (lines["oracle_calls"], lines["oracle"]),
        }
    )
    said = figures(found)
    heads = [
        ("net gain", f"{100 * said['net_gain']:+.2f} % ± {100 * said['net_gain_error']:.2f}"),
        ("calls per 1000", f"{said['calls_per_1000']:.0f}"),
        ("rescued per 100 calls", f"{said['rescued_per_100_calls']:.1f}"),
        ("broken per 100 calls", f"{said['broken_per_100_calls']:.1f}"),
        ("net per 100 calls", f"{said['net_per_100_calls']:+.1f}"),
    ]
    sections = [
        Section("calls", "Accuracy against calls", drawn + table(_HEAD, frontier_rows(found.outcomes))),
        Section(
            "pairs", "How well it tells labels apart", table(["true", "false", "% preferred rightly"], pair_rows(found))
        ),
    ]
    verdict = "It pays." if said["pays"] else "It does not pay, and is switched off."
    legend = (
        f"{verdict} Measured on {said['measured_on']} left-out examples of the corpus, {said['failed']} without "
        "an answer; each decided by weights that were fitted without it. Figures are of all pictures like the corpus's."
    )
    write_page(path, "The second look", heads, sections, legend, Thumbnails(file_of))


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
