"""Every branch of the decision has its name, and every threshold its boundary."""

import math

import pytest

from lmm_classifier.core.datatypes import Candidate, Decision, Reranked
from lmm_classifier.pipeline.policy import ThresholdPolicy

LOW, HIGH = math.nextafter(0.7, 0), 0.7
NEAR, FAR = 0.5, math.nextafter(0.5, 0)


def candidates(score, count=2):
    rest = (1 - score) / max(count - 1, 1)
    return [Candidate("abc"[i], score if i == 0 else rest, ()) for i in range(count)]


def policy(allow_unknown=True, can_rerank=True):
    return ThresholdPolicy(0.7, 0.5, allow_unknown, can_rerank)


@pytest.mark.parametrize(
    ("allow_unknown", "can_rerank", "score", "similarity", "expected"),
    [
        (True, True, HIGH, NEAR, Decision("accept", "confident")),
        (True, True, LOW, NEAR, Decision("rerank", "ambiguous")),
        (True, False, LOW, NEAR, Decision("accept", "ambiguous")),
        (True, True, HIGH, FAR, Decision("reject", "novel")),
        (True, True, LOW, FAR, Decision("reject", "novel")),
        (False, True, HIGH, FAR, Decision("accept", "forced")),
        (False, True, LOW, FAR, Decision("rerank", "ambiguous")),
        (False, False, LOW, FAR, Decision("accept", "forced")),
        (False, True, HIGH, NEAR, Decision("accept", "confident")),
        (True, True, HIGH, math.nan, Decision("reject", "novel")),
    ],
)
def test_branches_at_equality(allow_unknown, can_rerank, score, similarity, expected):
    """Equal to a threshold passes; the next smaller number does not."""
    assert policy(allow_unknown, can_rerank).decide(candidates(score), similarity) == expected


def test_two_doubts_do_not_stand_in_for_each_other():
    """A perfect vote does not make a far picture known; a near picture does not settle a split vote."""
    assert policy().decide(candidates(1.0), -1.0).reason == "novel"
    assert policy().decide(candidates(0.5), 1.0).reason == "ambiguous"


def test_one_candidate_is_never_asked_about():
    """There is nothing to choose from: the label stands as a best guess."""
    assert policy().decide(candidates(0.6, count=1), 0.9) == Decision("accept", "ambiguous")


def test_no_candidate_is_novel_even_in_a_closed_set():
    """Without any example there is no label to force."""
    assert policy(allow_unknown=False).decide([], 0.9) == Decision("reject", "novel")


def test_after_the_reranker():
    """The reranker's answer is accepted; its failure leaves retrieval's answer, by name."""
    assert policy().decide_again(Reranked((0.6, 0.4))) == Decision("accept", "reranked")
    assert policy().decide_again(Reranked((), 0.0, "down")) == Decision("accept", "reranker_failed")
