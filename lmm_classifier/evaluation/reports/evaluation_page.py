"""The job of `lmm-classifier evaluate`: classify a labelled folder, and say how good, how honest and how sure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.core.metrics import reliability, risk_coverage
from lmm_classifier.evaluation.reports.charts import familiarity_chart, reliability_chart, risk_coverage_chart
from lmm_classifier.evaluation.reports.contact_sheet import LEGEND, card, judge
from lmm_classifier.evaluation.reports.page import Section, Thumbnails, cards, table, write_page
from lmm_classifier.evaluation.results import Entry, Evaluation
from lmm_classifier.pipeline.classifier import HybridClassifier

_SHOWN = 60  # pictures per section of the page


def write_report(path: Path, found: Evaluation, figures: dict[str, Any], classifier: HybridClassifier) -> None:
    """Write figures, charts and the pictures that teach most on one page."""
    thumbnails = Thumbnails(classifier.index.contents.file_of)
    labels = classifier.index.label_names

    def section(anchor: str, heading: str, entries: Sequence[Entry]) -> Section:
        articles = [card(entry, judge(entry, labels), thumbnails) for entry in entries[:_SHOWN]]
        more = f'<p class="note">and {len(entries) - _SHOWN} more</p>' if len(entries) > _SHOWN else ""
        return Section(anchor, heading, cards(articles) + more, len(entries))

    worst = np.argsort(-found.confidence, kind="stable")
    mistakes = [found.known[row] for row in worst if found.given[row] and not found.right[row]]
    refused = [found.known[row] for row in worst if not found.given[row]]
    missed = [entry for entry in found.strangers if not entry.result.is_unknown]
    caught = [entry for entry in found.strangers if entry.result.is_unknown]
    pictures = [
        section("mistakes", "Worst mistakes", mistakes),
        section("missed", "Strangers let through", missed),
        section("refused", "Known, but called unknown", refused),
        section("caught", "Strangers caught", caught),
    ]
    sections = [
        Section("charts", "Confidence and unknowns", _charts(found, classifier.retriever.open_set_threshold)),
        *([_trade(figures["unknown"])] if figures["unknown"] else []),
        Section("classes", "Labels", _classes(figures), len(figures["classes"])),
        *([_confusions(figures)] if figures["confusions"] else []),
        *(one for one in pictures if one.count),
    ]
    write_page(path, "Evaluation", summary(figures), sections, LEGEND, thumbnails)


def _charts(found: Evaluation, threshold: float) -> str:
    drawn = reliability_chart(reliability(found.confidence, found.right))
    drawn += risk_coverage_chart(*risk_coverage(found.confidence, found.right))
    drawn += familiarity_chart(found.familiarity, found.strangers_familiarity, threshold)
    return f'<div class="charts">{drawn}</div>'


def _classes(figures: dict[str, Any]) -> str:
    rows = []
    for one in sorted(figures["classes"], key=lambda one: one["share"]):
        right = f"{one['count']} of {one['of']}"
        rows.append([one["label"], right, percent(one["share"]), _interval(one), one["most_often_instead"] or ""])
    return table(["label", "right", "accuracy", "95 % interval", "most often instead"], rows)


def _confusions(figures: dict[str, Any]) -> Section:
    rows = [[one["truth"], one["answer"], str(one["count"])] for one in figures["confusions"]]
    return Section("confusions", "Confusions", table(["it is", "taken for", "times"], rows), len(rows))


def _trade(unknown: dict[str, Any]) -> Section:
    rows = [
        [f"{100 * one['keep_known']:g} %", percent(one["known_kept"]), percent(one["strangers_let_through"])]
        for one in unknown["trade"]
    ]
    head = ["retrieval.keep_known", "known pictures kept", "strangers let through"]
    return Section("trade", "What keeping the known costs", table(head, rows))


def summary(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value of the figures that stand at the top."""
    pictures, confidence, unknown = figures["pictures"], figures["confidence"], figures["unknown"]
    again = figures["second_look"]
    lines = []
    if pictures["known"]:
        lines += [
            ("accuracy", f"{percent(figures['accuracy']['share'])} ({_interval(figures['accuracy'])})"),
            ("accuracy if a label is forced", percent(figures["accuracy_if_a_label_is_forced"]["share"])),
            ("known called unknown", percent(figures["known_called_unknown"]["share"])),
            ("calibration error", percent(confidence["expected_calibration_error"])),
            ("AURC x 100", f"{100 * confidence['area_under_risk_coverage']:.1f}"),
            ("answered at 5 % risk", percent(confidence["coverage_at_risk"]["0.05"])),
        ]
    if unknown:
        lines += [
            ("strangers caught", f"{percent(unknown['caught']['share'])} of {pictures['strangers']}"),
            ("unknown AUROC", f"{100 * unknown['auroc']:.1f}"),
            ("FPR at 95 % known kept", percent(unknown["false_positives_at_95"])),
        ]
    lines.append(("second look", f"{again['asked']} asked, {again['rescued']} rescued, {again['broken']} broken"))
    if pictures["unreadable"]:
        lines.append(("unreadable", str(pictures["unreadable"])))
    return lines


def percent(share: float | None) -> str:
    """Write a fraction as percent; a dash where there is none."""
    return "-" if share is None else f"{100 * share:.1f} %"


def _interval(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * low:.0f}-{100 * high:.0f}"
