"""Aggregation cancels a preference for letters and positions; a question that was not answered fails."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lmm_classifier.core.datatypes import Candidate, RerankRequest
from lmm_classifier.rerank.aggregation import aggregate
from lmm_classifier.rerank.prompts import PromptOptions, make_prompts


def prompts(count, **prompt_options):
    request = RerankRequest(Image.new("RGB", (2, 2)), tuple(Candidate(f"l{i:02}", 1 / count, ()) for i in range(count)))
    return make_prompts(PromptOptions(**prompt_options), request)


def answers(variants, of_candidate, of_letter, mass=1.0):
    """Log-probabilities of a model with these logits of the candidates and a bias for letters."""
    rows = []
    for prompt in variants:
        logits = np.array([of_candidate[position] for position in prompt.stands_for]) + of_letter[: len(prompt.answers)]
        rows.append(np.log(mass) + logits - np.log(np.exp(logits).sum()))
    return rows


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.integers(0, 2**31))
def test_all_cyclic_orders_cancel_any_bias_for_letters(logits, seed):
    """The average over all cyclic orders is the answer of an unbiased model, whatever the bias is."""
    bias = np.random.default_rng(seed).normal(0, 3, len(logits))
    variants = prompts(len(logits), orders=len(logits))
    if len(logits) == 2:
        bias[:] = [bias[0], -bias[0]]
    answer = aggregate(variants, answers(variants, [*logits, 0], bias), len(logits), 0.5, False)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(answer.scores, expected, rtol=1e-6, atol=1e-9)


def test_two_opposite_orders_cancel_a_bias_for_early_letters():
    """A bias that falls linearly with the position cancels in two orders, and the disagreement shows it."""
    variants = prompts(4)
    bias = np.array([3.0, 2, 1, 0])
    answer = aggregate(variants, answers(variants, [0, 1, 0, 0, 0], bias), 4, 0.5, False)
    assert int(np.argmax(answer.scores)) == 1
    assert answer.scores[0] == pytest.approx(answer.scores[3])
    assert answer.disagreement > 0.3
    plain = aggregate(variants, answers(variants, [0, 1, 0, 0, 0], bias * 0), 4, 0.5, False)
    assert plain.disagreement == pytest.approx(0)
    np.testing.assert_allclose(plain.scores, answer.scores)


def test_none_of_these_has_its_own_probability():
    """Its probability is separate from those of the candidates, which still sum to 1."""
    variants = prompts(2, none_option=True)
    answer = aggregate(variants, answers(variants, {0: 0.0, 1: 1.0, -1: 2.0}, np.zeros(3)), 2, 0.5, False)
    weights = np.exp([0.0, 1.0, 2.0])
    assert answer.none_probability == pytest.approx(weights[2] / weights.sum())
    assert sum(answer.scores) == pytest.approx(1)
    assert answer.scores[1] == pytest.approx(weights[1] / weights[:2].sum())


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([[-5.0, -6], [-5, -5]], "probability of only 0.01"),
        ([[float("nan"), -1], [-1, -1]], "not probabilities"),
        ([[3.0, -1], [-1, -1]], "not probabilities"),
        ([[-np.inf, -np.inf], [-np.inf, -np.inf]], "probability of only 0.00"),
    ],
)
def test_a_question_without_a_usable_answer_fails(rows, reason):
    """With a low option mass or invalid numbers the result has no scores but a reason."""
    answer = aggregate(prompts(2), [np.array(row) for row in rows], 2, 0.5, False)
    assert answer.scores == ()
    assert reason in answer.failure


def test_an_option_that_was_not_listed_is_unlikely():
    """An option that the server did not list is very unlikely but not impossible."""
    answer = aggregate(prompts(2), [np.array([-0.01, -np.inf]), np.array([-np.inf, -0.01])], 2, 0.5, False)
    assert answer.failure == ""
    assert answer.scores[0] > 0.999
    assert answer.scores[1] > 0


def test_pairs_average_log_odds():
    """The log-odds of yes are averaged over the references of a label; no yes at all is "none of these"."""
    image = Image.new("RGB", (2, 2))
    request = RerankRequest(
        image, (Candidate("a", 0.5, ()), Candidate("b", 0.5, ())), references=((image, image), (image,))
    )
    variants = make_prompts(PromptOptions("pairwise"), request)
    rows = [np.log([0.9, 0.1]), np.log([0.5, 0.5]), np.log([0.25, 0.75])]
    answer = aggregate(variants, rows, 2, 0.5, True)
    odds = np.exp([(np.log(9) + 0) / 2, np.log(1 / 3)])
    np.testing.assert_allclose(answer.scores, odds / odds.sum())
    assert answer.none_probability == pytest.approx((1 - 0.7) * 0.75)
    assert answer.disagreement > 0
