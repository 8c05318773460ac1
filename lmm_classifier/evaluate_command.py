"""The job of `lmm-classifier evaluate`: classify a labelled folder, and say how good, how honest and how sure."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.atomic import replacing_file
from lmm_classifier.charts import familiarity_chart, reliability_chart, risk_coverage_chart
from lmm_classifier.config import PipelineConfig
from lmm_classifier.console import ProgressDisplay, printable
from lmm_classifier.contact_sheet import LEGEND, Entry, card, judge
from lmm_classifier.corpus import scan_corpus
from lmm_classifier.evaluation import Evaluation
from lmm_classifier.metrics import reliability, risk_coverage
from lmm_classifier.page import Section, Thumbnails, cards, table, write_page
from lmm_classifier.pipeline import HybridClassifier
from lmm_classifier.reports import Progress

_SHOWN = 60  # pictures per section of the page


def evaluate(folder: Path, classifier: HybridClassifier, leave_out_identical: bool = False) -> Evaluation:
    """Classify `folder/<label>/**`; a folder that is no label of the index, such as `unknown`, holds strangers."""
    examples = scan_corpus(folder).examples
    paths = [folder / example.path for example in examples]
    entries = []
    with ProgressDisplay() as show:
        for number, result in enumerate(classifier.classify_paths(paths, leave_out_identical)):
            entries.append(Entry(paths[number], result, examples[number].label))
            show(Progress("evaluating", number + 1, len(paths)))
    return Evaluation.of(entries, set(classifier.index.label_names))


def run_evaluate(
    folder: Path, config: PipelineConfig, json_to: Path | None, html_to: Path | None, leave_out_identical: bool
) -> int:
    """Evaluate, print a summary, and write what was asked for; 0 done, 3 some files were no pictures."""
    classifier = HybridClassifier(config)
    found = evaluate(folder, classifier, leave_out_identical)
    figures = found.to_dict(classifier.retriever.familiarity.threshold)
    if json_to is not None:
        with replacing_file(json_to) as temporary:
            temporary.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    if html_to is not None:
        write_report(html_to, found, figures, classifier)
    sys.stdout.write("\n".join(printable(line) for line in _lines(figures, html_to)) + "\n")
    return 3 if found.unreadable else 0


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
    write_page(path, "Evaluation", _summary(figures), sections, LEGEND, thumbnails)


def _charts(found: Evaluation, threshold: float) -> str:
    drawn = reliability_chart(reliability(found.confidence, found.right))
    drawn += risk_coverage_chart(*risk_coverage(found.confidence, found.right))
    drawn += familiarity_chart(found.familiarity, found.strangers_familiarity, threshold)
    return f'<div class="charts">{drawn}</div>'


def _classes(figures: dict[str, Any]) -> str:
    rows = []
    for one in sorted(figures["classes"], key=lambda one: one["share"]):
        right = f"{one['count']} of {one['of']}"
        rows.append([one["label"], right, _percent(one["share"]), _interval(one), one["most_often_instead"] or ""])
    return table(["label", "right", "accuracy", "95 % interval", "most often instead"], rows)


def _confusions(figures: dict[str, Any]) -> Section:
    rows = [[one["truth"], one["answer"], str(one["count"])] for one in figures["confusions"]]
    return Section("confusions", "Confusions", table(["it is", "taken for", "times"], rows), len(rows))


def _trade(unknown: dict[str, Any]) -> Section:
    rows = [
        [f"{100 * one['keep_known']:g} %", _percent(one["known_kept"]), _percent(one["strangers_let_through"])]
        for one in unknown["trade"]
    ]
    head = ["retrieval.keep_known", "known pictures kept", "strangers let through"]
    return Section("trade", "What keeping the known costs", table(head, rows))


def _summary(figures: dict[str, Any]) -> list[tuple[str, str]]:
    pictures, confidence, unknown = figures["pictures"], figures["confidence"], figures["unknown"]
    again = figures["second_look"]
    lines = []
    if pictures["known"]:
        lines += [
            ("accuracy", f"{_percent(figures['accuracy']['share'])} ({_interval(figures['accuracy'])})"),
            ("accuracy if a label is forced", _percent(figures["accuracy_if_a_label_is_forced"]["share"])),
            ("known called unknown", _percent(figures["known_called_unknown"]["share"])),
            ("calibration error", _percent(confidence["expected_calibration_error"])),
            ("AURC x 100", f"{100 * confidence['area_under_risk_coverage']:.1f}"),
            ("answered at 5 % risk", _percent(confidence["coverage_at_risk"]["0.05"])),
        ]
    if unknown:
        lines += [
            ("strangers caught", f"{_percent(unknown['caught']['share'])} of {pictures['strangers']}"),
            ("unknown AUROC", f"{100 * unknown['auroc']:.1f}"),
            ("FPR at 95 % known kept", _percent(unknown["false_positives_at_95"])),
        ]
    lines.append(("second look", f"{again['asked']} asked, {again['rescued']} rescued, {again['broken']} broken"))
    if pictures["unreadable"]:
        lines.append(("unreadable", str(pictures["unreadable"])))
    return lines


def _lines(figures: dict[str, Any], page: Path | None) -> list[str]:
    pictures = figures["pictures"]
    lines = [f"{pictures['known']} pictures of known labels, {pictures['strangers']} strangers"]
    lines += [f"  {name:<30} {value}" for name, value in _summary(figures)]
    for one in figures["unknown"]["trade"] if figures["unknown"] else ():
        keep, kept, passed = one["keep_known"], one["known_kept"], one["strangers_let_through"]
        lines.append(f"  keep_known {keep:g}: keeps {_percent(kept)}, lets {_percent(passed)} of the strangers through")
    worst = sorted(figures["classes"], key=lambda one: one["share"])[:5]
    lines += [f"  {one['label']}: {one['count']} of {one['of']} right" for one in worst if one["share"] < 1]
    lines += [f"  {one['truth']} taken for {one['answer']}: {one['count']} times" for one in figures["confusions"][:5]]
    if page is not None:
        lines.append(f"look at {page}")
    return lines


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _interval(found: dict[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * low:.0f}-{100 * high:.0f}"
