"""The cost page: what each encoder and the reranker are worth on a dataset, measured on its held-out examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.calibration.fusion.ladders import Ladder, prices
from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.html.charts import Chart, accuracy_ends, calls_chart, ladders_chart
from lmm_classifier.html.page import Section, write_page
from lmm_classifier.html.tables import Table
from lmm_classifier.rerank.benefit import RerankerBenefit
from lmm_classifier.rerank.summary import cost_accuracy_curve, curve_rows, figures, pair_rows

CURVE_HEAD = ["calls per 1000", "gate, %", "threshold, %", "random, %", "oracle, %"]
_PAIR_HEAD = ["true label", "false label", "% preferred correctly"]


def ladder_head(ladders: Sequence[Ladder]) -> list[str]:
    """Return the head of the table of ladders."""
    target = f"{100 * ladders[0].target:g}"
    return ["encoders", "accuracy, %", f"coverage at {target}% precision, %", "asked, %", "ms an image"]


def ladder_rows(ladders: Sequence[Ladder]) -> list[list[str]]:
    """Return a row for each ladder, in the order of their numbers."""
    return [
        [
            f"{number}. {ladder.name}",
            f"{100 * ladder.accuracy:.1f}",
            f"{100 * ladder.coverage:.1f}" if ladder.coverage else "none",
            ", ".join(f"{100 * share:.0f}" for share in ladder.asked),
            "-" if ladder.milliseconds is None else f"{ladder.milliseconds:.1f}",
        ]
        for number, ladder in enumerate(ladders, 1)
    ]


def ladder_notes(ladders: Sequence[Ladder]) -> list[str]:
    """Explain the table of ladders, and say in words what each cascade of all encoders costs and saves."""
    lines = ["asked: the share of all images that each encoder is asked about, in the order of the names"]
    if not all(ladder.coverage for ladder in ladders):
        lines.append("coverage none: no threshold can guarantee this precision; it takes more examples, or better ones")
    for ladder, accuracy, coverage, time in prices(ladders):
        spent = "" if time is None else f", in {100 * time:.0f}% of the time"
        lines.append(
            f"{ladder.name}, compared with asking all about every image: accuracy {100 * accuracy:+.1f} points, "
            f"coverage {100 * coverage:+.1f} points{spent}"
        )
    return lines


def write_cost_page(path: Path | str, calibration: Calibration) -> None:
    """Write what each ladder of encoders and the reranker give, and what they cost; whole or not at all.

    Args:
        path: the HTML file.
        calibration: of an index, with several encoders or a measured reranker.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import CalibrationRequest, PipelineConfig, calibrate_index, write_cost_page
        >>> report = calibrate_index("index", PipelineConfig.offline(), CalibrationRequest(max_calls=20))
        >>> write_cost_page("cost.html", report.calibration)
        >>> Path("cost.html").read_text(encoding="utf-8").count("<svg")
        1
    """
    ladders, benefit = calibration.ladders, calibration.reranker_benefit
    sections, summary = list[Section](), list[tuple[str, str]]()
    if ladders:
        best = max(ladders, key=lambda ladder: ladder.accuracy)
        summary += [
            ("most accurate", best.name),
            ("its accuracy", f"{100 * best.accuracy:.1f}%"),
            ("its coverage", f"{100 * best.coverage:.1f}%"),
        ]
        table = Table(ladder_head(ladders), ladder_rows(ladders))
        sections.append(Section("encoders", "Encoders", charts=_ladder_charts(ladders, benefit), table=table))
    if benefit is not None:
        summary += _reranker_figures(benefit)
        pairs = pair_rows(benefit)
        curves = [calls_chart(_curves(benefit), _ends(ladders, benefit))]
        sections += [
            Section("calls", "Reranker", charts=curves, table=Table(CURVE_HEAD, curve_rows(benefit.outcomes))),
            Section("pairs", "Pairs that it tells apart least", len(pairs), table=Table(_PAIR_HEAD, pairs)),
        ]
    filled = [section for section in sections if section.count != 0]
    values = figures(benefit) if benefit is not None else None
    write_page(
        path,
        "cost.html",
        "Encoders and reranker",
        summary,
        filled,
        prices=ladder_notes(ladders) if ladders else [],
        values=values,
    )


def _reranker_figures(benefit: RerankerBenefit) -> list[tuple[str, str]]:
    values = figures(benefit)
    return [
        ("net gain of reranking", f"{100 * values['net_gain']:+.2f} ± {100 * values['net_gain_error']:.2f} points"),
        ("calls per 1000 images", f"{values['calls_per_1000']:.0f}"),
        ("corrected per 100 calls", f"{values['corrected_per_100_calls']:.1f}"),
        ("newly wrong per 100 calls", f"{values['newly_wrong_per_100_calls']:.1f}"),
        ("net per 100 calls", f"{values['net_per_100_calls']:+.1f}"),
    ]


def _ladder_charts(ladders: Sequence[Ladder], benefit: RerankerBenefit | None) -> list[Chart]:
    """Draw accuracy and coverage over time, where the time of every encoder is known."""
    times = [ladder.milliseconds for ladder in ladders if ladder.milliseconds is not None]
    if len(times) < len(ladders):
        return []
    coverage = [ladder.coverage for ladder in ladders]
    return [
        ladders_chart([*zip(times, (ladder.accuracy for ladder in ladders))], "accuracy", _ends(ladders, benefit)),
        ladders_chart([*zip(times, coverage)], "coverage", (0.0, max(*coverage, 0.01))),
    ]


def _ends(ladders: Sequence[Ladder], benefit: RerankerBenefit | None) -> tuple[float, float]:
    """Return the ends of the axis of accuracy, the same for encoders and reranker."""
    values = [accuracy for _, accuracy in _curves(benefit).values()] if benefit is not None else []
    if ladders:
        values.append(np.array([ladder.accuracy for ladder in ladders]))
    return accuracy_ends(values)


def _curves(benefit: RerankerBenefit) -> dict[str, tuple[Float64Array, Float64Array]]:
    curves = cost_accuracy_curve(benefit.outcomes)
    return {
        "gate": (curves["calls"], curves["gate"]),
        "threshold": (curves["threshold_calls"], curves["threshold"]),
        "random": (curves["calls"], curves["random"]),
        "oracle": (curves["oracle_calls"], curves["oracle"]),
    }
