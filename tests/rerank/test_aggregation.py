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


def test_the_answer_is_the_geometric_mean_by_hand():
    """Two orders of three options with "none": logarithms are averaged, then normalized; the disagreement is a mean."""
    variants = prompts(3, none_option=True)
    rows = [np.log([0.4, 0.3, 0.2, 0.05]), np.log([0.1, 0.2, 0.1, 0.5])]
    answer = aggregate(variants, rows, 3, 0.5, False)
    orders = []  # probabilities of the three candidates and of none, by order
    for prompt, row in zip(variants, rows):
        total = np.exp(row).sum()
        orders.append([np.exp(row[prompt.stands_for.index(option)]) / total for option in (0, 1, 2, -1)])
    mean = np.sqrt(np.prod(orders, axis=0))
    mean /= mean.sum()
    np.testing.assert_allclose(answer.scores, mean[:3] / mean[:3].sum())
    assert answer.none_probability == pytest.approx(mean[3])
    distances = [0.5 * np.abs(np.array(order) - mean).sum() for order in orders]
    assert answer.disagreement == pytest.approx(np.mean(distances))
    assert answer.option_mass == pytest.approx((0.95 + 0.9) / 2)
    assert aggregate(prompts(2), [np.log([0.5, 0.5])] * 2, 2, 0.5, False).none_probability is None


def test_the_least_mass_is_inclusive():
    """Exactly the least mass is an answer, a little less is none; a mass above 1 by rounding is 1."""
    rows = [np.log([0.25, 0.25])] * 2
    mass = np.exp(rows[0]).sum()
    assert aggregate(prompts(2), rows, 2, mass, False).failure == ""
    failed = aggregate(prompts(2), rows, 2, np.nextafter(mass, 1), False)
    assert failed.failure == "the options have a probability of only 0.50: the model did not answer the question"
    assert failed.option_mass == mass
    rounded = [np.array([np.log(0.5) + 9e-4, np.log(0.5) + 9e-4]), np.log([0.25, 0.25])]
    assert aggregate(prompts(2), rounded, 2, 0.5, False).option_mass == pytest.approx(0.75)
    assert aggregate(prompts(2), [np.array([9e-4, -np.inf])] * 2, 2, 0.5, False).failure == ""
    assert aggregate(prompts(2), [np.array([1.1e-3, -np.inf])] * 2, 2, 0.5, False).failure != ""
    assert aggregate(prompts(2), [np.full(2, -np.inf)] * 2, 2, 0.0, False).failure != ""


def test_an_answer_that_was_not_listed_has_the_least_probability():
    """Its logarithm counts as -30."""
    answer = aggregate(prompts(1), [np.array([0.0])], 1, 0.5, False)
    assert answer.scores == (1.0,)
    answer = aggregate(prompts(2)[:1], [np.array([0.0, -np.inf])], 2, 0.5, False)
    assert answer.scores[1] == pytest.approx(np.exp(-30), rel=1e-6, abs=0)


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
    assert answer.option_mass < 0.5


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
    assert answer.disagreement == pytest.approx(2 * (0.2 + 0) / 2)  # 0.9 and 0.5 are 0.2 from their mean; one is alone
    split = aggregate(variants, [np.log([0.999, 0.001]), np.log([0.001, 0.999]), rows[2]], 2, 0.5, True)
    assert split.disagreement == pytest.approx(0.499)
    assert split.option_mass == pytest.approx(1)


def test_pairs_that_are_never_a_yes_stay_probabilities():
    """Two candidates that are nearly impossible are compared by their odds all the same."""
    image = Image.new("RGB", (2, 2))
    candidates = (Candidate("a", 0.5, ()), Candidate("b", 0.5, ()))
    variants = make_prompts(PromptOptions("pairwise"), RerankRequest(image, candidates, references=((image,),) * 2))
    answer = aggregate(variants, [np.array([-30.0, 0.0]), np.array([-29.0, 0.0])], 2, 0.5, True)
    np.testing.assert_allclose(answer.scores, np.exp([0, 1]) / np.exp([0, 1]).sum())
