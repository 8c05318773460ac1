"""The evaluation page: figures, charts, and the images that were classified worst."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.core.metrics import reliability, risk_coverage
from lmm_classifier.evaluation.figures import LABEL_HEAD, label_rows, percent, summary
from lmm_classifier.evaluation.labeled_result import LabeledResult
from lmm_classifier.evaluation.reports.grading import entry_card, grade_result
from lmm_classifier.evaluation.results import Evaluation
from lmm_classifier.html.charts import familiarity_chart, reliability_chart, risk_coverage_chart
from lmm_classifier.html.confusion_matrix import (
    Pair,
    confusion_matrix,
    describe_pair,
    pairs_table,
)
from lmm_classifier.html.filters import filtered, spread
from lmm_classifier.html.page import MAX_CARDS, Folded, Section, write_page
from lmm_classifier.html.tables import Cell, Proportion, Table
from lmm_classifier.html.thumbnails import Thumbnails
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.thresholds import Thresholds

_MAX_MISTAKES = 150  # cards: enough that most pairs of a matrix have some
_OPEN_ROWS = 60  # labels that are listed before the others


def write_evaluation_page(path: Path | str, evaluation: Evaluation, classifier: HybridClassifier) -> None:
    """Write figures, charts and the most instructive images to one page, whole or not at all.

    Args:
        path: the HTML file.
        evaluation: the results.
        classifier: the classifier that gave them. Its index names the labels and the images of the neighbors.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, evaluate_folder, write_evaluation_page
        >>> classifier = HybridClassifier(PipelineConfig.offline())
        >>> evaluation = evaluate_folder("test_images", classifier)
        >>> write_evaluation_page("evaluation.html", evaluation, classifier)
        >>> Path("evaluation.html").read_text(encoding="utf-8").count("<figure>")
        3
    """
    figures = evaluation.to_dict(classifier.retriever.calibration.familiarity_threshold)
    thumbnails = Thumbnails(classifier.index.contents.file_of, classifier.config.images.limits)
    images, anchors = _images(evaluation, set(classifier.index.label_names), thumbnails)
    sections = [
        _charts(evaluation, classifier.thresholds),
        *([_levels(figures["hierarchy"])] if "hierarchy" in figures else []),
        *([_tradeoff(figures["unknown"])] if figures["unknown"] else []),
        *_confusions(evaluation, anchors),
        _classes(figures),
        *images,
    ]
    write_page(path, "results.html", "Evaluation", summary(figures), sections, thumbnails)


def _charts(evaluation: Evaluation, thresholds: Thresholds) -> Section:
    confidence, correct = evaluation.confidence, evaluation.correct
    threshold = thresholds.novelty.value if thresholds.statistic == "familiarity" else None
    charts = [
        reliability_chart(reliability(confidence, correct)),
        risk_coverage_chart(*risk_coverage(confidence, correct)),
        familiarity_chart(evaluation.familiarity, evaluation.unknown_familiarity, threshold),
    ]
    return Section("charts", "Confidence and unknown images", charts=charts)


def _levels(levels: dict[str, Any]) -> Section:
    named = [(f"level {row['level']}{'' if row['level'] else ', labels'}", row) for row in levels["levels"]]
    named += [("some level", levels["some_level"]), ("labels that compete", levels["labels_compete"])]
    if below := levels["unknown_below_known"]:
        named.append(("new labels, by coarse ones", below))
    rows: list[list[Cell]] = [
        [name, Proportion.of(row["answered"]), Proportion.of(row["correct"]) if row["correct"]["of"] else ""]
        for name, row in named
    ]
    return Section("levels", "Levels of the hierarchy", table=Table(["level", "answered", "right"], rows))


def _tradeoff(unknown: dict[str, Any]) -> Section:
    head = ["retrieval.keep_known", "known images accepted", "unknown images accepted"]
    rows = [
        [f"{row['keep_known']:g}", percent(row["known_accepted"]), percent(row["unknowns_accepted"])]
        for row in unknown["tradeoff"]
    ]
    return Section("tradeoff", "Known images against unknown images", table=Table(head, rows))


def _classes(figures: dict[str, Any]) -> Section:
    """Return recall and precision of each label, the least recall first."""
    rows = label_rows(figures)
    rest = rows[_OPEN_ROWS:]
    folded = [Folded(f"{len(rest)} more labels", table=Table(LABEL_HEAD, rest))] if rest else []
    return Section("classes", "Labels", len(rows), table=Table(LABEL_HEAD, rows[:_OPEN_ROWS]), folded=folded)


def _confusions(evaluation: Evaluation, anchors: Mapping[Pair, str]) -> list[Section]:
    counts = evaluation.confusion_counts()
    wrong = sum(count for (truth, given), count in counts.items() if truth != given)
    if not counts:
        return []
    matrix = confusion_matrix(counts, anchors)
    return [Section("confusions", "Confusions", wrong, matrix=matrix, table=pairs_table(counts, anchors))]


def _images(
    evaluation: Evaluation, labels: set[str], thumbnails: Thumbnails
) -> tuple[list[Section], Mapping[Pair, str]]:
    """Return sections of images, the most confident mistakes first, and where those of each pair of labels are."""
    by_confidence = [int(row) for row in np.argsort(-evaluation.confidence, kind="stable")]
    accepted, correct = evaluation.accepted, evaluation.correct
    mistakes = [evaluation.known[row] for row in by_confidence if accepted[row] and not correct[row]]
    rolled, right = evaluation.rolled_up, evaluation.right_at_some_level
    rejected = [evaluation.known[row] for row in by_confidence if not (accepted[row] or rolled[row])]
    coarse = [evaluation.known[row] for row in by_confidence if rolled[row] and not right[row]]
    missed = [entry for entry in evaluation.unknowns if not entry.result.is_unknown]
    caught = [entry for entry in evaluation.unknowns if entry.result.is_unknown]
    sections, anchors = list[Section](), dict[Pair, str]()
    for anchor, heading, entries, most in (
        ("mistakes", "Most confident mistakes", mistakes, _MAX_MISTAKES),
        ("coarse", "Wrong coarse answers", coarse, MAX_CARDS),
        ("missed", "Unknown images accepted", missed, MAX_CARDS),
        ("rejected", "Known images called unknown", rejected, MAX_CARDS),
        ("caught", "Unknown images caught", caught, MAX_CARDS),
    ):
        pairs = [_pair(entry, labels) for entry in entries]
        grades = [grade_result(entry, labels, evaluation.hierarchy) for entry in entries]
        cards = [(pairs[place], entry_card(entries[place], grades[place], thumbnails)) for place in spread(pairs, most)]
        found = filtered(anchor, cards, describe_pair, Counter(pairs))
        anchors |= found.anchors
        if cards:
            sections.append(Section(anchor, heading, len(entries), filters=found.filters, cards=found.cards))
    return sections, anchors


def _pair(entry: LabeledResult, labels: set[str]) -> Pair:
    result = entry.result
    return entry.truth if entry.truth in labels else None, None if result.is_unknown else result.label
