"""The reranking page: what the reranker is worth on a dataset, as it was measured on held-out examples."""

from __future__ import annotations

from pathlib import Path

from lmm_classifier.evaluation.reports.charts import Chart, calls_chart
from lmm_classifier.evaluation.reports.page import Section, Table, write_page
from lmm_classifier.rerank.benefit import RerankerBenefit
from lmm_classifier.rerank.summary import cost_accuracy_curve, curve_rows, figures, pair_rows

CURVE_HEAD = ["calls per 1000", "gate, %", "threshold, %", "random, %", "oracle, %"]
_PAIR_HEAD = ["true label", "false label", "% preferred correctly"]


def write_rerank_page(path: Path | str, benefit: RerankerBenefit) -> None:
    """Write the figures and charts of a measured reranker to one page, whole or not at all.

    Args:
        path: the HTML file.
        benefit: what was measured, from `measure_reranker` or from a calibration.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import PipelineConfig, measure_reranker, write_rerank_page
        >>> benefit = measure_reranker("index", PipelineConfig.offline(), max_calls=20)
        >>> write_rerank_page("reranking.html", benefit)
        >>> Path("reranking.html").read_text(encoding="utf-8").count("<svg")
        1
    """
    values = figures(benefit)
    summary = [
        ("net gain", f"{100 * values['net_gain']:+.2f} ± {100 * values['net_gain_error']:.2f} points"),
        ("calls per 1000 images", f"{values['calls_per_1000']:.0f}"),
        ("corrected per 100 calls", f"{values['corrected_per_100_calls']:.1f}"),
        ("newly wrong per 100 calls", f"{values['newly_wrong_per_100_calls']:.1f}"),
        ("net per 100 calls", f"{values['net_per_100_calls']:+.1f}"),
    ]
    pairs = pair_rows(benefit)
    sections = [
        Section(
            "calls",
            "Accuracy and calls",
            charts=[_curves(benefit)],
            table=Table(CURVE_HEAD, curve_rows(benefit.outcomes)),
        ),
        Section("pairs", "Pairs that it tells apart least", len(pairs), table=Table(_PAIR_HEAD, pairs)),
    ]
    filled = [section for section in sections if section.count != 0]
    write_page(path, "reranking.html", "Reranking", summary, filled, values=values)


def _curves(benefit: RerankerBenefit) -> Chart:
    curves = cost_accuracy_curve(benefit.outcomes)
    return calls_chart(
        {
            "gate": (curves["calls"], curves["gate"]),
            "threshold": (curves["threshold_calls"], curves["threshold"]),
            "random": (curves["calls"], curves["random"]),
            "oracle": (curves["oracle_calls"], curves["oracle"]),
        }
    )
