"""Ballots counted: letters' and places' preferences cancel, what was not answered fails."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, Question
from lmm_classifier.rerank.aggregation import tally
from lmm_classifier.rerank.prompts import Asking, write_ballots


def ballots(count, **asking):
    question = Question(Image.new("RGB", (2, 2)), tuple(Candidate(f"l{i:02}", 1 / count, ()) for i in range(count)))
    return write_ballots(Asking(**asking), question)


def said(cast, of_candidate, of_letter, mass=1.0):
    """What a model says that knows the candidates' logits and has a taste for letters."""
    rows = []
    for ballot in cast:
        logits = np.array([of_candidate[place] for place in ballot.stands_for]) + of_letter[: len(ballot.answers)]
        rows.append(np.log(mass) + logits - np.log(np.exp(logits).sum()))
    return rows


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.integers(0, 2**31))
def test_all_cyclic_orders_cancel_any_taste_for_letters(logits, seed):
    """Averaged over every turn the shares are those of an unbiased model, whatever the bias is."""
    taste = np.random.default_rng(seed).normal(0, 3, len(logits))
    cast = ballots(len(logits), orders=len(logits))
    if len(logits) == 2:
        taste[:] = [taste[0], -taste[0]]
    answer = tally(cast, said(cast, [*logits, 0], taste), len(logits), 0.5, False)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(answer.scores, expected, rtol=1e-6, atol=1e-9)


def test_two_opposite_orders_cancel_a_taste_for_early_letters():
    """A taste that falls evenly with the place cancels in two orders; the disagreement tells of it."""
    cast = ballots(4)
    taste = np.array([3.0, 2, 1, 0])
    answer = tally(cast, said(cast, [0, 1, 0, 0, 0], taste), 4, 0.5, False)
    assert int(np.argmax(answer.scores)) == 1
    assert answer.scores[0] == pytest.approx(answer.scores[3])
    assert answer.disagreement > 0.3
    plain = tally(cast, said(cast, [0, 1, 0, 0, 0], taste * 0), 4, 0.5, False)
    assert plain.disagreement == pytest.approx(0)
    np.testing.assert_allclose(plain.scores, answer.scores)


def test_none_of_these_is_told_apart():
    """Its share stands beside those of the candidates, which still sum to 1."""
    cast = ballots(2, none_option=True)
    answer = tally(cast, said(cast, {0: 0.0, 1: 1.0, -1: 2.0}, np.zeros(3)), 2, 0.5, False)
    weights = np.exp([0.0, 1.0, 2.0])
    assert answer.none_share == pytest.approx(weights[2] / weights.sum())
    assert sum(answer.scores) == pytest.approx(1)
    assert answer.scores[1] == pytest.approx(weights[1] / weights[:2].sum())


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([[-5.0, -6], [-5, -5]], "probability of only 0.01"),
        ([[float("nan"), -1], [-1, -1]], "probabilities are none"),
        ([[3.0, -1], [-1, -1]], "probabilities are none"),
        ([[-np.inf, -np.inf], [-np.inf, -np.inf]], "probability of only 0.00"),
    ],
)
def test_what_was_not_answered_fails(rows, reason):
    """A low label mass, or numbers that are none: no scores, and the reason."""
    answer = tally(ballots(2), [np.array(row) for row in rows], 2, 0.5, False)
    assert answer.scores == ()
    assert reason in answer.failure


def test_an_answer_that_was_not_listed():
    """An option that the server did not list is very unlikely, not impossible."""
    answer = tally(ballots(2), [np.array([-0.01, -np.inf]), np.array([-np.inf, -0.01])], 2, 0.5, False)
    assert answer.failure == ""
    assert answer.scores[0] > 0.999
    assert answer.scores[1] > 0


def test_pairs():
    """The log-odds of yes are averaged over a label's examples; nobody's yes is the share of none."""
    image = Image.new("RGB", (2, 2))
    question = Question(
        image, (Candidate("a", 0.5, ()), Candidate("b", 0.5, ())), references=((image, image), (image,))
    )
    cast = write_ballots(Asking("pairwise"), question)
    rows = [np.log([0.9, 0.1]), np.log([0.5, 0.5]), np.log([0.25, 0.75])]
    answer = tally(cast, rows, 2, 0.5, True)
    odds = np.exp([(np.log(9) + 0) / 2, np.log(1 / 3)])
    np.testing.assert_allclose(answer.scores, odds / odds.sum())
    assert answer.none_share == pytest.approx((1 - 0.7) * 0.75)
    assert answer.disagreement > 0
