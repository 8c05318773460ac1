"""Every branch of the decision has its name, and every threshold is inclusive."""

import math

import pytest

from lmm_classifier.core.datatypes import Candidate, CoarseCandidate, Decision, RerankResult
from lmm_classifier.pipeline.policy import ThresholdPolicy
from lmm_classifier.pipeline.thresholds import Threshold, Thresholds

LOW, HIGH = math.nextafter(0.7, 0), 0.7
FAMILIAR, UNFAMILIAR = 0.5, math.nextafter(0.5, 0)
ANY = 0.0  # the statistic that is not compared


def candidates(score, count=2):
    rest = (1 - score) / max(count - 1, 1)
    return [Candidate("abc"[i], score if i == 0 else rest, ()) for i in range(count)]


def policy(statistic="familiarity", **options):
    thresholds = Thresholds(Threshold(0.7, "test"), Threshold(0.5, "test"), statistic)
    return ThresholdPolicy(thresholds, **options)


@pytest.mark.parametrize("statistic", ["familiarity", "similarity"])
@pytest.mark.parametrize(
    ("allow_unknown", "can_rerank", "score", "value", "expected"),
    [
        (True, True, HIGH, FAMILIAR, Decision("accept", "confident")),
        (True, True, LOW, FAMILIAR, Decision("rerank", "ambiguous")),
        (True, False, LOW, FAMILIAR, Decision("accept", "ambiguous")),
        (True, True, HIGH, UNFAMILIAR, Decision("reject", "novel")),
        (True, True, LOW, UNFAMILIAR, Decision("reject", "novel")),
        (False, True, HIGH, UNFAMILIAR, Decision("accept", "forced")),
        (False, True, LOW, UNFAMILIAR, Decision("rerank", "ambiguous")),
        (False, False, LOW, UNFAMILIAR, Decision("accept", "forced")),
        (False, True, HIGH, FAMILIAR, Decision("accept", "confident")),
        (True, True, HIGH, math.nan, Decision("reject", "novel")),
    ],
)
def test_every_branch_at_its_threshold(statistic, allow_unknown, can_rerank, score, value, expected):
    """Equal to a threshold passes; the next smaller number does not; the other statistic has no effect."""
    decide = policy(statistic, allow_unknown=allow_unknown, can_rerank=can_rerank).decide
    familiarity, similarity = (value, ANY) if statistic == "familiarity" else (ANY, value)
    assert decide(candidates(score), familiarity, similarity) == expected
    alone = policy(statistic, allow_unknown=allow_unknown, can_rerank=False).decide
    unasked = decide(candidates(score), familiarity, similarity, may_rerank=False)
    assert unasked == alone(candidates(score), familiarity, similarity)


def test_confidence_and_novelty_do_not_stand_in_for_each_other():
    """Full confidence does not make an unfamiliar image known; a familiar image does not settle a split vote."""
    assert policy().decide(candidates(1.0), -1.0, ANY).reason == "novel"
    assert policy().decide(candidates(0.5), 1.0, ANY).reason == "ambiguous"


def test_the_reranker_is_not_asked_about_one_candidate():
    """There is nothing to choose from: the label stands as a best guess."""
    assert policy().decide(candidates(0.6, count=1), 0.9, ANY) == Decision("accept", "ambiguous")


def test_without_a_candidate_an_image_is_novel_even_in_a_closed_set():
    """Without any example there is no label to force."""
    assert policy(allow_unknown=False).decide([], 0.9, ANY) == Decision("reject", "novel")


@pytest.mark.parametrize("score", [LOW, HIGH])
def test_where_the_reranker_was_measured_its_gate_decides(score):
    """The confidence threshold then only names the reason, and never overrules the gate."""
    assert policy(pays_off=lambda _: True).decide(candidates(score), 0.9, ANY) == Decision("rerank", "ambiguous")
    reason = "confident" if score == HIGH else "ambiguous"
    assert policy(pays_off=lambda _: False).decide(candidates(score), 0.9, ANY) == Decision("accept", reason)


def test_after_the_reranker():
    """The reranker's answer is accepted; its failure leaves retrieval's answer and says so."""
    assert policy().decide_again(RerankResult((0.6, 0.4))) == Decision("accept", "reranked")
    assert policy().decide_again(RerankResult((), 0.0, "down")) == Decision("accept", "reranker_failed")


def test_coarse_labels_answer_where_no_label_is_sure_enough():
    """The finest first, each at its own threshold, before the reranker; never for an unfamiliar image."""
    thresholds = Thresholds(
        Threshold(0.7, "test"), Threshold(0.5, "test"), coarse={1: Threshold(0.9, "test"), 2: Threshold(0.8, "test")}
    )
    chosen = ThresholdPolicy(thresholds)
    fine, coarse = CoarseCandidate(("x", "y"), 0.8), CoarseCandidate(("x",), 0.9)
    below = [CoarseCandidate(one.path, math.nextafter(one.score, 0)) for one in (fine, coarse)]
    assert chosen.roll_up([fine, coarse]) == fine
    assert chosen.roll_up([below[0], coarse]) == coarse
    assert chosen.roll_up(below) is None
    rolled_up = Decision("accept", "rolled_up")
    assert chosen.decide(candidates(LOW), FAMILIAR, ANY, coarse=[fine]) == rolled_up
    assert chosen.decide(candidates(HIGH), FAMILIAR, ANY, coarse=[fine]) == Decision("accept", "confident")
    assert chosen.decide(candidates(LOW), FAMILIAR, ANY, coarse=below) == Decision("rerank", "ambiguous")
    assert chosen.decide(candidates(LOW), UNFAMILIAR, ANY, coarse=[fine]) == Decision("reject", "novel")
    closed = ThresholdPolicy(thresholds, allow_unknown=False)
    assert closed.decide(candidates(LOW), UNFAMILIAR, ANY, coarse=[fine]) == rolled_up
