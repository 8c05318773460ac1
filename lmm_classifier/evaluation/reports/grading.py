"""Compare results with the truth, for cards and sections."""

from __future__ import annotations

from collections.abc import Collection

from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.evaluation.labeled_result import LabeledResult
from lmm_classifier.evaluation.levels import is_right
from lmm_classifier.html.cards import Card, Grade, result_card
from lmm_classifier.html.thumbnails import Thumbnails


def grade_result(entry: LabeledResult, labels: Collection[str], hierarchy: LabelHierarchy | None = None) -> Grade:
    """Compare a result with the truth; an image of none of `labels` is correct when it is called unknown.

    A coarse label is correct where it stands above the truth in the hierarchy; without one it has no grade.
    """
    result, truth = entry.result, entry.truth
    if truth is None or result.decision.reason == "unreadable":
        return Grade(None)
    if result.is_rolled_up:
        if hierarchy is None or truth not in {*labels, *hierarchy.above}:
            return Grade(None, f"truth: {truth}")
        correct = is_right(result, truth, hierarchy)
        return Grade(correct, f"{'correct, coarser than' if correct else 'wrong,'} truth: {truth}")
    if truth not in labels:
        words = "correct, an unknown image" if result.is_unknown else "wrong, an unknown image"
        return Grade(result.is_unknown, f"{words}: {truth}")
    correct = not result.is_unknown and result.label == truth
    return Grade(correct, "correct" if correct else f"wrong, truth: {truth}")


def entry_card(entry: LabeledResult, grade: Grade, thumbnails: Thumbnails) -> Card:
    """Show an image with its result, its grade and its nearest examples."""
    return result_card(entry.image, entry.result, grade, thumbnails)
