"""The command `report`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmm_classifier.cli.options import IndexArgument, JsonFile

if TYPE_CHECKING:
    from lmm_classifier.calibration.calibration import Calibration
    from lmm_classifier.config import PipelineConfig


def report(
    index: IndexArgument = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a page with charts to this file.")
    ] = None,
    json_to: JsonFile = None,
    *,
    config: PipelineConfig,
) -> int:
    """Show what each encoder and the reranker are worth.

    `calibrate` measures every order of asking several encoders, and `calibrate --rerank` the reranker: accuracy against
    calls, and which pairs of labels it tells apart.

    Exit codes: 0 done, 1 failed, or nothing was measured.
    """
    from lmm_classifier.calibration.loading import usable_calibration
    from lmm_classifier.cli.console import escape_for_terminal
    from lmm_classifier.cli.quiet import write_note
    from lmm_classifier.core.errors import CalibrationError
    from lmm_classifier.core.files import atomic_write, require_place
    from lmm_classifier.evaluation.reports.cost_page import write_cost_page
    from lmm_classifier.index.formats import read_index
    from lmm_classifier.pipeline.fusion_report import other_encoders

    require_place(json_to, output)
    path = index or config.retrieval.index_path
    contents = read_index(path)
    calibration = usable_calibration(contents)
    if calibration is None:
        raise CalibrationError(
            f"Nothing was measured on {path}: no calibration is stored that can be used. Run `lmm-classifier calibrate "
            f"{path}`."
        )
    if not (calibration.ladders or calibration.reranker_benefit):
        raise CalibrationError(
            f"Nothing was measured on {path}: it has one encoder, and no reranker was measured. Run `lmm-classifier "
            f"calibrate {path} --rerank`, or build it with several encoders and calibrate it."
        )
    if note := other_encoders(contents.manifest, config):
        write_note(f"warning: {escape_for_terminal(note)}")
    if json_to is not None:
        with atomic_write(json_to) as temporary:
            temporary.write_text(json.dumps(_values(calibration), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    lines = [*_encoder_lines(calibration), *_reranker_lines(calibration)]
    if output is not None:
        write_cost_page(output, calibration)
        lines += ["", f"Report written to {output}"]
    sys.stdout.write("\n".join(escape_for_terminal(line) for line in lines).lstrip("\n") + "\n")
    return 0


def _values(calibration: Calibration) -> dict[str, Any]:
    """Return all figures as plain values."""
    from lmm_classifier.rerank.summary import curve_rows, figures

    benefit, values = calibration.reranker_benefit, dict[str, Any]()
    if calibration.ladders:
        values["ladders"] = [{"name": ladder.name, **ladder.to_dict()} for ladder in calibration.ladders]
    if benefit is not None:
        names = ("calls_per_1000", "gate", "threshold", "random", "oracle")
        curve = [dict(zip(names, map(float, row))) for row in curve_rows(benefit.outcomes)]
        values |= {**figures(benefit), "identity": benefit.identity, "curve": curve}
    return values


def _encoder_lines(calibration: Calibration) -> list[str]:
    from lmm_classifier.evaluation.reports.cost_page import ladder_head, ladder_notes, ladder_rows

    ladders = calibration.ladders
    if not ladders:
        return []
    return [
        "encoders, fused (+) or each asked only where those before are unsure (->):",
        *_aligned([ladder_head(ladders), *ladder_rows(ladders)]),
        *ladder_notes(ladders),
    ]


def _reranker_lines(calibration: Calibration) -> list[str]:
    from lmm_classifier.evaluation.reports.cost_page import CURVE_HEAD
    from lmm_classifier.rerank.summary import curve_rows, pair_rows, summary

    benefit = calibration.reranker_benefit
    if benefit is None:
        return []
    rows = curve_rows(benefit.outcomes)
    lines = ["", *summary(benefit), "", "accuracy by calls, asked in the order of:", *_aligned([CURVE_HEAD, *rows])]
    if pairs := pair_rows(benefit, 5):
        lines += ["", "pairs that it tells apart least (true, false, % preferred correctly):"]
        lines += [f"  {true} / {false}: {rate}" for true, false, rate in pairs]
    return lines


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows)]
    names, *numbers = widths
    return [
        "  " + "  ".join([row[0].ljust(names), *(cell.rjust(width) for cell, width in zip(row[1:], numbers))])
        for row in rows
    ]
