"""Figures for each level: a right coarse answer counts at its level, one to an unknown label apart."""

from pathlib import Path

import pytest

from lmm_classifier.core.datatypes import Candidate, Classification, Decision
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.evaluation.levels import is_right, level_figures, with_labels
from lmm_classifier.evaluation.reports.grading import grade_result
from lmm_classifier.evaluation.results import Evaluation, LabeledResult

HIERARCHY = LabelHierarchy(
    {"shirt": ("body", "tops"), "tee": ("body", "tops"), "skirt": ("body",), "vest": ("body", "tops")}
)
LABELS = {"shirt", "tee", "skirt"}


def entry(truth, reason, label, level=0, score=0.9):
    """A result whose best label is `shirt` with a score of 0.4 where it is not the answer."""
    action = "reject" if reason == "novel" else "accept"
    best = Candidate(label, score, ()) if label in LABELS else Candidate("shirt", 0.4, ())
    level = None if action == "reject" else level
    return LabeledResult(
        Path("x"), Classification(label, score, False, Decision(action, reason), (best,), level=level), truth
    )


ENTRIES = [
    entry("shirt", "confident", "shirt"),
    entry("tee", "confident", "shirt"),
    entry("tee", "rolled_up", "tops", 1),
    entry("skirt", "rolled_up", "tops", 1),
    entry("skirt", "rolled_up", "body", 2),
    entry("skirt", "ambiguous", "skirt"),
    entry("skirt", "novel", "unknown"),
    entry("vest", "rolled_up", "tops", 1),
    entry("vest", "confident", "shirt"),
    entry("lamp", "rolled_up", "body", 2),
]


@pytest.fixture
def evaluation():
    return Evaluation.of(ENTRIES, LABELS, hierarchy=HIERARCHY)


def test_each_level_has_its_figures(evaluation):
    """Answered is of all known images, right of those that are answered."""
    figures = evaluation.to_dict(lambda keep: 0.0)["hierarchy"]

    def counts(row):
        return row["answered"]["count"], row["answered"]["of"], row["correct"]["count"], row["correct"]["of"]

    assert [(row["level"], *counts(row)) for row in figures["levels"]] == [
        (0, 2, 7, 1, 2),
        (1, 2, 7, 1, 2),
        (2, 1, 7, 1, 1),
    ]
    assert counts(figures["some_level"]) == (5, 7, 3, 5)
    assert counts(figures["labels_compete"]) == (1, 7, 1, 1)
    below = figures["unknown_below_known"]
    assert (below["images"], counts(below)) == (2, (1, 2, 1, 1))
    assert level_figures([], [], HIERARCHY)["some_level"]["answered"]["fraction"] is None
    assert level_figures([], [], HIERARCHY)["unknown_below_known"] is None


def test_coarse_answers_are_no_labels_and_no_unknowns(evaluation):
    """Accuracy, precision and confusions are of labels; confidence is that of the best label."""
    figures = evaluation.to_dict(lambda keep: 0.0)
    assert figures["accuracy"]["count"] == 2
    assert figures["known_called_unknown"]["count"] == 1
    assert figures["precision_of_answers"]["of"] == 3
    assert evaluation.confidence[2] == 0.4
    assert evaluation.rolled_up.sum() == 3
    assert evaluation.right_at_some_level.tolist() == [True, False, True, False, True, True, False]
    assert not {given for truth, given in evaluation.confusion_counts() if truth} & {"tops", "body"}
    assert {row["most_often_instead"] for row in figures["classes"]} == {"shirt", "unknown", None}
    assert "hierarchy" not in Evaluation.of(ENTRIES[:2], LABELS).to_dict(lambda keep: 0.0)


def test_intervals_are_by_groups():
    """The counts stay, the intervals become wider: images of one object are no independent trials."""
    entries, groups = [entry for entry in ENTRIES for _ in range(6)], [number for number in range(10) for _ in range(6)]
    alone = Evaluation.of(entries, LABELS, hierarchy=HIERARCHY).to_dict()["hierarchy"]
    grouped = Evaluation.of(entries, LABELS, groups=groups, hierarchy=HIERARCHY).to_dict()["hierarchy"]
    for name in ("some_level", "labels_compete", "unknown_below_known"):
        one, other = (figures[name]["answered"] for figures in (alone, grouped))
        assert (one["count"], one["of"]) == (other["count"], other["of"])
        assert other["interval"][0] <= one["interval"][0] <= one["interval"][1] <= other["interval"][1]
        assert other["interval"] != one["interval"]


def test_a_notebook_names_the_levels(evaluation):
    """As the evaluation page does."""
    page = evaluation._repr_html_()
    assert "answered at level 1" in page
    assert "coarse answers to new labels" in page


def test_cards_are_graded(evaluation):
    """By the hierarchy; without one a coarse answer has no grade."""
    grades = [grade_result(given, LABELS, HIERARCHY) for given in ENTRIES]
    assert [grade.correct for grade in grades] == [True, False, True, False, True, True, False, True, False, None]
    assert grades[2].words == "correct, coarser than truth: tee"
    assert grade_result(ENTRIES[2], LABELS).correct is None


def test_other_labels_find_their_place():
    """Below a coarse label that is there; a label that is there stays."""
    found = with_labels(
        HIERARCHY, {"blouse": ("photos", "tops"), "lamp": ("light",), "tee": (), "tops": ("body",), "x": ()}
    )
    assert found.above == {**HIERARCHY.above, "blouse": ("body", "tops")}
    assert is_right(entry("blouse", "rolled_up", "body", 2).result, "blouse", found)
