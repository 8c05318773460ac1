"""The command `rerank-report`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import IndexArgument, JsonFile

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def rerank_report(
    index: IndexArgument = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a page with charts to this file.")
    ] = None,
    json_to: JsonFile = None,
    *,
    config: PipelineConfig,
) -> int:
    """Show what was measured of the reranker.

    `calibrate --rerank` measures: accuracy against calls, and which pairs of labels it tells apart.

    Exit codes: 0 done, 1 failed, or nothing was measured.
    """
    from lmm_classifier.calibration.loading import usable_calibration
    from lmm_classifier.cli.console import escape_for_terminal
    from lmm_classifier.core.errors import CalibrationError
    from lmm_classifier.core.files import atomic_write, require_place
    from lmm_classifier.evaluation.reports.rerank_page import CURVE_HEAD, write_rerank_page
    from lmm_classifier.index.formats import read_index
    from lmm_classifier.rerank.summary import curve_rows, figures, pair_rows, summary

    require_place(json_to, output)
    path = index or config.retrieval.index_path
    calibration = usable_calibration(read_index(path))
    benefit = calibration.reranker_benefit if calibration else None
    if benefit is None:
        raise CalibrationError(
            f"The reranker was not measured on {path}. Run `lmm-classifier calibrate {path} --rerank`."
        )
    rows = curve_rows(benefit.outcomes)
    if json_to is not None:
        names = ("calls_per_1000", "gate", "threshold", "random", "oracle")
        curve = [dict(zip(names, map(float, row))) for row in rows]
        values = {**figures(benefit), "identity": benefit.identity, "curve": curve}
        with atomic_write(json_to) as temporary:
            temporary.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    lines = [*summary(benefit), "", "accuracy by calls, asked in the order of:", *_aligned([CURVE_HEAD, *rows])]
    if pairs := pair_rows(benefit, 5):
        lines += ["", "pairs that it tells apart least (true, false, % preferred correctly):"]
        lines += [f"  {true} / {false}: {rate}" for true, false, rate in pairs]
    if output is not None:
        write_rerank_page(output, benefit)
        lines += ["", f"Report written to {output}"]
    sys.stdout.write("\n".join(escape_for_terminal(line) for line in lines) + "\n")
    return 0


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
