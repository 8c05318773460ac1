"""Figures of an evaluation, counted by hand."""

import json

import numpy as np
import pytest

from lmm_classifier.core.datatypes import Candidate, Classification, Decision
from lmm_classifier.core.metrics import clustered_interval
from lmm_classifier.evaluation.labeled_result import LabeledResult
from lmm_classifier.evaluation.reports.evaluation_page import summary
from lmm_classifier.evaluation.results import Evaluation


def entry(truth, answer, score=0.9, familiarity=0.0, reason="confident", others=()):
    """One result; `others` are candidates with scores of retrieval, before the reranker ordered them."""
    candidates = (Candidate(answer, score, ()), *(Candidate(label, other, ()) for label, other in others))
    action = "reject" if reason in ("novel", "unreadable") else "accept"
    label = "unknown" if action == "reject" else answer
    result = Classification(
        label, score, reason == "reranked", Decision(action, reason), candidates, 0.5, familiarity, error="no image"
    )
    return LabeledResult(f"{truth}.jpg", result, truth)


ENTRIES = [
    entry("a", "a", 0.9, 0.5),
    entry("a", "b", 0.6, 0.1),
    entry("b", "b", 0.8, -3.0, "novel"),
    entry("b", "b", 0.3, 0.2, "reranked", [("a", 0.5)]),
    entry("unknown", "a", 0.7, -2.0, "novel"),
    entry("moon", "b", 0.4, 0.3),
    entry("b", "b", reason="unreadable"),
]


def test_figures_counted_by_hand():
    """A rejected known image is an error. A truth that is no label is an unknown image. A bad file is neither."""
    evaluation = Evaluation.of(ENTRIES, {"a", "b"})
    assert repr(evaluation) == "Evaluation(4 known, 2 unknown, 1 unreadable, accuracy 50.0%)"
    figures = evaluation.to_dict(lambda keep: {0.95: -3.5, 0.9: -1.0, 0.8: 0.15}[keep])
    assert figures["images"] == {
        "known": 4,
        "unknowns": 2,
        "unreadable": 1,
        "left_out_identical": 0,
        "left_out_near_copies": 0,
    }
    assert (figures["accuracy"]["count"], figures["accuracy"]["of"]) == (2, 4)
    assert figures["accuracy_if_a_label_is_forced"]["count"] == 3
    assert figures["known_called_unknown"]["count"] == 1
    assert (figures["precision_of_answers"]["count"], figures["precision_of_answers"]["of"]) == (2, 3)
    assert figures["confusions"] == [{"truth": "a", "answer": "b", "count": 1}]
    assert [(row["label"], row["count"], row["most_often_instead"]) for row in figures["classes"]] == [
        ("a", 1, "b"),
        ("b", 1, "unknown"),
    ]
    unknown = figures["unknown"]
    assert unknown["caught"]["fraction"] == 0.5
    assert unknown["auroc"] == pytest.approx(4 / 8)  # of eight pairs: .5 beats both, .1 and .2 beat one, -3 none
    assert unknown["fpr_at_95_tpr"] == 1.0
    assert [(row["known_accepted"], row["unknowns_accepted"]) for row in unknown["tradeoff"]] == [
        (1.0, 1.0),
        (0.75, 0.5),
        (0.5, 0.5),
    ]
    reranking = figures["reranking"]
    assert (reranking["asked"], reranking["corrected"], reranking["newly_wrong"]) == (1, 1, 0)
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize("entries", [ENTRIES[:4], ENTRIES[4:6], ENTRIES[6:], []])
def test_every_part_alone_has_figures(entries):
    """Only known, only unknown, only unreadable, and no images: all figures are JSON without NaN."""
    figures = Evaluation.of(entries, {"a", "b"}).to_dict(lambda keep: 0.0)
    json.dumps(figures, allow_nan=False)
    assert figures["unknown"] is None


def test_intervals_are_by_groups():
    """All fractions stay; their intervals are those of the groups, and the groups are counted."""
    entries = [entry("a", "a" if group % 3 else "b") for group in range(12) for _ in range(5)]
    entries += [
        entry("moon", "a", reason="novel" if group % 2 else "confident") for group in range(4) for _ in range(5)
    ]
    groups = np.repeat(np.arange(16), 5)
    alone, grouped = (Evaluation.of(entries, {"a", "b"}, groups=g).to_dict(lambda keep: 0.0) for g in (None, groups))
    assert alone["groups"] is None
    assert grouped["groups"] == {"known": 12, "unknowns": 4, "largest": 5}
    row, of_alone = grouped["classes"][0], alone["classes"][0]
    right = np.repeat(np.arange(12) % 3 > 0, 5)
    assert tuple(grouped["accuracy"]["interval"]) == clustered_interval(right, groups[:60])
    for found, former in [
        (grouped["accuracy"], alone["accuracy"]),
        (grouped["accuracy_if_a_label_is_forced"], alone["accuracy_if_a_label_is_forced"]),
        (grouped["known_called_unknown"], alone["known_called_unknown"]),
        (grouped["precision_of_answers"], alone["precision_of_answers"]),
        (grouped["unknown"]["caught"], alone["unknown"]["caught"]),
        (row, of_alone),
        (row["precision"], of_alone["precision"]),
    ]:
        assert (found["fraction"], found["count"], found["of"]) == (former["fraction"], former["count"], former["of"])
        assert found["interval"][1] - found["interval"][0] > former["interval"][1] - former["interval"][0]
    assert row["precision"]["of"] == 50, "answers to unknown images count for the precision of a label"
    assert ("groups, which the intervals are by", "12 of known images, 4 of unknown ones; at most 5 images in one") in (
        summary(grouped)
    )
