"""The job of `lmm-classifier report`: what the second look is worth on this corpus, as measured by `calibrate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lmm_classifier.evaluation.reports.charts import calls_chart
from lmm_classifier.evaluation.reports.page import Section, Thumbnails, table, write_page
from lmm_classifier.rerank.benefit import SecondLook
from lmm_classifier.rerank.summary import figures, frontier, frontier_rows, pair_rows

HEAD = ["calls per 1000", "by expected gain, %", "by a threshold, %", "anywhere, %", "oracle, %"]


def write_rerank_page(path: Path, found: SecondLook, file_of: Callable[[str], Path]) -> None:
    """Write the figures and charts of a measured reranker to `path`."""
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
        Section("calls", "Accuracy against calls", drawn + table(HEAD, frontier_rows(found.outcomes))),
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
