"""The benefit of reranking: measured, used where it helps, and disabled where it does not."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from lmm_classifier.core.datatypes import RerankResult
from lmm_classifier.rerank.benefit import (
    RerankerBenefit,
    Trial,
    TrialOutcomes,
    candidates_for_recall,
    fit_benefit,
    sample_by_uncertainty,
)
from lmm_classifier.rerank.fusion import evidence, fit_fusion
from lmm_classifier.rerank.gating import GainCalibration, PairwiseAccuracy, gain_threshold
from lmm_classifier.rerank.summary import cost_accuracy_curve, curve_rows, figures, summary


def simulate(count, skill, seed=0, labels=("a", "b", "c"), failing=0.0):
    """Trials with calibrated retrieval and a reranker that is right with probability `skill`."""
    rng = np.random.default_rng(seed)
    trials = []
    for _ in range(count):
        probabilities = np.sort(rng.dirichlet(np.ones(3) * 0.4))[::-1]
        order = tuple(rng.permutation(labels))
        truth = order[rng.choice(3, p=probabilities)]
        rival = rng.choice([label for label in labels if label != truth])
        chosen = truth if rng.random() < skill else rival
        scores = tuple(0.8 if label == chosen else 0.1 for label in order)
        answer = RerankResult((), 0.0, "down") if rng.random() < failing else RerankResult(scores, disagreement=0.1)
        trials.append(Trial(order, probabilities, truth, answer, 1.0))
    return trials


def fit(trials, target_gain=0.98, max_calls=None):
    rankings = [(trial.labels, trial.probabilities) for trial in trials]
    return fit_benefit("model@1", trials, rankings, target_gain, max_calls)


def test_a_good_model_pays():
    """It is asked where labels compete, raises the accuracy, and is not asked where retrieval is certain."""
    benefit = fit(simulate(400, 0.95))
    assert benefit.outcomes.pays
    values = figures(benefit)
    assert values["accuracy"]["gate"] > values["accuracy"]["retrieval"] + 0.1
    assert values["accuracy"]["gate"] >= values["accuracy"]["fused_everywhere"] - 0.01
    assert 0 < values["calls_per_1000"] < 800
    assert benefit.worth(("a", "b", "c"), np.array([0.5, 0.4, 0.1]))
    assert not benefit.worth(("a", "b", "c"), np.array([0.98, 0.01, 0.01]))
    assert summary(benefit)[0].startswith("Reranking helps on this dataset (net gain +")


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 5))])
@pytest.mark.parametrize("skill", [0.1, 1 / 3])
def test_a_useless_model_is_disabled(skill, seed):
    """At chance or worse the net gain is not above zero: the summary says so, and no image is worth a call."""
    benefit = fit(simulate(300, skill, seed))
    assert not benefit.outcomes.pays
    assert not benefit.worth(("a", "b", "c"), np.array([0.4, 0.35, 0.25]))
    lines = summary(benefit)
    assert lines[0].startswith("Reranking does not help on this dataset (net gain ")
    assert lines[0].endswith(" points), so it is disabled.")
    assert lines[1] == "  measured on: 300 held-out examples, 0 without an answer"
    assert figures(benefit)["accuracy"]["fused_everywhere"] >= figures(benefit)["accuracy"]["retrieval"] - 0.03


def test_it_is_asked_about_the_labels_it_knows():
    """A model that knows some labels and guesses on others is asked about the ones it knows."""
    trials = simulate(300, 0.97, 1, ("a", "b", "c")) + simulate(300, 1 / 3, 2, ("x", "y", "z"))
    benefit = fit([trials[i] for i in np.random.default_rng(0).permutation(600)])
    uncertain = np.array([0.5, 0.4, 0.1])
    assert benefit.worth(("a", "b", "c"), uncertain)
    assert not benefit.worth(("x", "y", "z"), uncertain)
    curve = cost_accuracy_curve(benefit.outcomes)
    gate = np.interp(0.2, curve["calls"], curve["gate"])
    threshold = np.interp(0.2, curve["threshold_calls"], curve["threshold"])
    random = np.interp(0.2, curve["calls"], curve["random"])
    assert gate > threshold + 0.02 > random


def test_failures_are_harmless():
    """Where the reranker gave no answer, retrieval's is used."""
    benefit = fit(simulate(300, 0.95, failing=0.5))
    assert 100 < benefit.outcomes.failed.sum() < 200
    failed = benefit.outcomes.failed
    np.testing.assert_array_equal(benefit.outcomes.fused[failed], benefit.outcomes.retrieval[failed])


def test_calls_are_bounded():
    """No more calls per 1000 than allowed."""
    benefit = fit(simulate(400, 0.95), max_calls=0.1)
    assert figures(benefit)["calls_per_1000"] <= 130


def test_cost_accuracy_curve():
    """All curves begin with retrieval; the oracle is never below the others, and ends where no correction is left."""
    benefit = fit(simulate(400, 0.9))
    curve = cost_accuracy_curve(benefit.outcomes)
    base = float(benefit.outcomes.retrieval.mean())
    for name in ("gate", "random", "threshold", "oracle"):
        assert curve[name][0] == pytest.approx(base)
    grid = np.linspace(0, 1, 21)
    oracle = np.interp(grid, curve["oracle_calls"], curve["oracle"])
    for calls, name in (("calls", "gate"), ("threshold_calls", "threshold"), ("calls", "random")):
        assert (np.interp(grid, curve[calls], curve[name]) <= oracle + 1e-9).all()
    assert curve["gate"][-1] == pytest.approx(float(benefit.outcomes.fused.mean()))
    assert len(curve_rows(benefit.outcomes)) == 8


def test_arrays_rebuild_the_benefit():
    """The rebuilt benefit equals the measured one; impossible or missing arrays are refused."""
    benefit = fit(simulate(60, 0.9))
    arrays = benefit.to_arrays()
    assert {name.partition(".")[0] for name in arrays} == {
        "identity",
        "fusion",
        "gate",
        "pairwise_accuracy",
        "outcomes",
    }
    again = RerankerBenefit.from_arrays(arrays)
    assert summary(again) == summary(benefit)
    assert again.pairwise_accuracy == benefit.pairwise_accuracy
    assert again.worth(("a", "b"), np.array([0.5, 0.5])) == benefit.worth(("a", "b"), np.array([0.5, 0.5]))
    for name, values in (("fusion", [-1.0, 0]), ("gate", [0.1, 40]), ("outcomes.gain", [1.0])):
        with pytest.raises(ValueError):
            RerankerBenefit.from_arrays({**arrays, name: np.array(values)})
    for name in arrays:
        with pytest.raises(KeyError):
            RerankerBenefit.from_arrays({key: array for key, array in arrays.items() if key != name})


def test_few_trials():
    """Very few trials are enough for a summary and a curve."""
    for count in (1, 2, 6):
        benefit = fit(simulate(count, 1.0))
        assert summary(benefit)[0].startswith("Reranking")
        assert len(curve_rows(benefit.outcomes)) == 8


def test_candidates_for_recall():
    """The candidates contain the true label at the wanted rate under uncertainty; at least two, at most the limit."""
    probabilities = np.array([[0.9, 0.05, 0.03, 0.02]] * 95 + [[0.3, 0.27, 0.23, 0.2]] * 5)
    truth = np.array([0] * 95 + [2] * 5)
    assert candidates_for_recall(probabilities, truth, 0.5, 10) == 2
    assert candidates_for_recall(probabilities, truth, 0.98, 10) == 3  # the five uncertain ones count most
    assert candidates_for_recall(probabilities, truth, 0.98, 2) == 2
    assert candidates_for_recall(probabilities, np.full(100, 3), 1.0, 10) == 4


@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 2**31))
def test_the_sample_stays_within_the_budget(count, budget, seed):
    """The rows are ascending and no more than the budget; each weight is at least 1."""
    rng = np.random.default_rng(seed)
    confidence, random_numbers = rng.uniform(0.2, 1, count), rng.random(count)
    rows, weights = sample_by_uncertainty(confidence, random_numbers, budget)
    assert len(rows) == min(count, budget)
    assert (np.diff(rows) > 0).all()
    assert (weights >= 1 - 1e-9).all()


def test_the_weights_are_unbiased():
    """Weighted means of the sample are those of all; a larger budget chooses the same examples and more."""
    rng = np.random.default_rng(0)
    confidence = rng.beta(8, 1, 2000)
    right = rng.random(2000) < confidence
    estimates = []
    for _ in range(40):
        rows, weights = sample_by_uncertainty(confidence, rng.random(2000), 200)
        estimates.append((weights * right[rows]).sum() / weights.sum())
    assert np.mean(estimates) == pytest.approx(right.mean(), abs=0.01)
    random_numbers = rng.random(2000)
    few, more = (sample_by_uncertainty(confidence, random_numbers, budget)[0] for budget in (100, 400))
    assert np.isin(few, more).mean() > 0.9


def inclusion_by_hand(confidence, budget):
    """In proportion to the uncertainty, at least 0.02, but at most 1; their sum is the budget."""
    uncertainty = np.maximum(1 - confidence, 0.02)
    factor = brentq(lambda factor: np.minimum(factor * uncertainty, 1).sum() - budget, 0, 1e4, xtol=1e-13)
    return np.minimum(factor * uncertainty, 1)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("shape", "count"), [((8, 1), 60), ((0.2, 0.2), 60), ((30, 0.1), 40)])
def test_the_sample_is_that_of_its_inclusion_probabilities(seed, shape, count):
    """Those that are certainly included come first, then those whose number is small for their probability."""
    rng = np.random.default_rng(seed)
    confidence, random_numbers, budget = rng.beta(*shape, count), rng.random(count), int(rng.integers(1, count))
    include = inclusion_by_hand(confidence, budget)
    certain = include >= 1 - 1e-9
    order = sorted(range(count), key=lambda row: (not certain[row], random_numbers[row] / include[row]))
    rows, weights = sample_by_uncertainty(confidence, random_numbers, budget)
    assert rows.tolist() == sorted(order[:budget])
    np.testing.assert_allclose(weights, 1 / include[rows], rtol=1e-6)


def test_a_budget_for_all_takes_all():
    """Each of them stands for itself."""
    confidence = np.linspace(0, 1, 100)
    rows, weights = sample_by_uncertainty(confidence, np.full(100, 0.5), 100)
    assert rows.tolist() == list(range(100))
    assert weights.tolist() == [1.0] * 100


@pytest.mark.parametrize("seed", range(10))
def test_the_recall_is_weighted_by_uncertainty(seed):
    """The fewest candidates, at least 2, whose weighted recall is enough; certain examples count next to nothing."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(6, 0.3), 30)
    truth = np.array([rng.choice(6, p=row) for row in probabilities])
    rank = np.array([sorted(row, reverse=True).index(row[label]) for row, label in zip(probabilities, truth)])
    weight = 1 - probabilities.max(axis=1)
    for recall in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0):
        enough = [count for count in range(1, 7) if weight[rank < count].sum() / weight.sum() >= recall - 1e-12]
        assert candidates_for_recall(probabilities, truth, recall, 4) == max(2, min(enough[0], 4))


def test_certain_examples_have_a_recall():
    """Where retrieval is sure of all there is no uncertainty to divide by."""
    assert candidates_for_recall(np.eye(5)[[0, 0, 0, 0]], np.array([0, 0, 0, 1]), 1.0, 9) == 2


def test_a_gain_that_reaches_the_threshold_is_worth_a_call():
    """The threshold is the gain of the last image that is asked about."""
    benefit, labels, probabilities = fit(simulate(80, 0.95)), ("a", "b", "c"), np.array([0.5, 0.4, 0.1])
    gain = benefit.pairwise_accuracy.expected_gain(labels, probabilities)
    assert replace(benefit, gain_threshold=gain).worth(labels, probabilities)
    assert not replace(benefit, gain_threshold=np.nextafter(gain, 1)).worth(labels, probabilities)


def test_rates_follow_a_renamed_label():
    """Without new names it is the same."""
    benefit = fit(simulate(60, 0.9))
    accuracy = benefit.pairwise_accuracy
    renamed = benefit.renamed({"a": "x"})
    assert renamed.pairwise_accuracy.of_label == {"x" if k == "a" else k: v for k, v in accuracy.of_label.items()}
    assert renamed.pairwise_accuracy != accuracy
    assert benefit.renamed({}).pairwise_accuracy == accuracy


def outcomes(worth, retrieval, fused, weight):
    """Outcomes of trials of which only these matter."""
    count = len(worth)
    flags = {"worth": worth, "retrieval": retrieval, "fused": fused, "reranker": fused, "failed": [0] * count}
    return TrialOutcomes(
        gain=np.zeros(count),
        confidence=np.zeros(count),
        weight=np.array(weight, float),
        disagreement=np.zeros(count),
        **{name: np.array(values, bool) for name, values in flags.items()},
    )


def test_the_net_gain_and_its_error():
    """Corrections less spoiled answers, of those asked about; each trial stands for several examples."""
    found = outcomes([1, 1, 1, 0, 1], [0, 1, 1, 0, 0], [1, 0, 1, 1, 1], [2, 1, 3, 5, 4])
    net, error = (2 - 1 + 4) / 15, (4 + 1 + 16) ** 0.5 / 15
    assert found.net == pytest.approx((net, error))
    assert found.net_percent == pytest.approx((100 * net, 100 * error))
    assert found.pays


@pytest.mark.parametrize(("corrected", "pays"), [(0, False), (1, False), (2, True)])
def test_one_correction_is_luck(corrected, pays):
    """It equals its own standard error."""
    fused = [1] * corrected + [0] * (20 - corrected)
    assert outcomes([1] * 20, [0] * 20, fused, [1] * 20).pays == pays


@pytest.mark.parametrize(
    ("name", "values", "possible"),
    [
        ("fusion", [0.0, 0.0], True),
        ("fusion", [0.0, -0.1], False),
        ("fusion", [-0.1, 1.0], False),
        ("gate", [1e-9, 3], True),
        ("gate", [0.0, 3], False),
        ("gate", [-0.5, 3], False),
        ("gate", [np.nan, 3], False),
        ("gate", [0.1, 0], False),
        ("gate", [0.1, 1], True),
        ("gate", [0.1, 26], True),
        ("gate", [0.1, 27], False),
    ],
)
def test_stored_numbers_are_checked(name, values, possible):
    """Weights are 0 or more, the threshold is above 0, and there are 1 to 26 candidates."""
    arrays = {**fit(simulate(10, 0.9)).to_arrays(), name: np.array(values)}
    if possible:
        stored = RerankerBenefit.from_arrays(arrays).to_arrays()
        assert stored[name].tolist() == values
        return
    with pytest.raises(ValueError, match="impossible"):
        RerankerBenefit.from_arrays(arrays)


def fitted_by_hand(trials):
    """Fusion, and the comparisons of the true label with each other one, on trials whose answer may be right."""
    usable = [trial for trial in trials if not trial.answer.failure and trial.truth in trial.labels]
    places = [trial.labels.index(trial.truth) for trial in usable]
    comparisons = []
    for trial, place in zip(usable, places):
        scores = trial.answer.scores
        for label, score in zip(trial.labels, scores):
            if label != trial.truth:
                comparisons.append((trial.truth, label, {-1: 0.0, 0: 0.5, 1: 1.0}[int(np.sign(scores[place] - score))]))
    fusion = fit_fusion([evidence(trial.probabilities, trial.answer) for trial in usable], places)
    return fusion, PairwiseAccuracy.fit(comparisons)


def varied_trials():
    """Trials with failures, equal scores, true labels that are not offered, and several weights."""
    trials = simulate(61, 0.8, 3, failing=0.1)
    changed = []
    for number, trial in enumerate(trials):
        answer = RerankResult((0.4, 0.4, 0.2), disagreement=0.3) if number % 9 == 0 else trial.answer
        truth = "z" if number % 13 == 0 else trial.truth
        changed.append(Trial(trial.labels, trial.probabilities, truth, answer, 1.0 + number % 3))
    return changed


@pytest.mark.parametrize(("target_gain", "max_calls"), [(0.98, None), (0.6, 0.3)])
def test_trials_are_judged_by_fits_without_them(target_gain, max_calls):
    """Five folds in turn: weights, rates and the gate of each are those of the four others; the last fit has all."""
    trials = varied_trials()
    rankings = [(trial.labels, trial.probabilities) for trial in [*trials, *simulate(20, 0.5, 7)]]
    benefit = fit_benefit("model@1", trials, rankings, target_gain, max_calls)
    found, folds = benefit.outcomes, np.arange(61) % 5
    fits = [fitted_by_hand([trial for trial, fold in zip(trials, folds) if fold != number]) for number in range(5)]
    gain = np.array([fits[fold][1].expected_gain(t.labels, t.probabilities) for t, fold in zip(trials, folds)])
    np.testing.assert_array_equal(found.gain, gain)
    for row, (trial, fold) in enumerate(zip(trials, folds)):
        right = [trial.labels[0] == trial.truth] * 3
        if not trial.answer.failure:
            fused = fits[fold][0](trial.probabilities, trial.answer)
            right[1:] = (trial.labels[int(np.argmax(values))] == trial.truth for values in (trial.answer.scores, fused))
        assert [found.retrieval[row], found.reranker[row], found.fused[row]] == right
        assert found.failed[row] == bool(trial.answer.failure)
        assert (found.confidence[row], found.weight[row]) == (trial.probabilities[0], 1.0 + row % 3)
        assert found.disagreement[row] == trial.answer.disagreement

    def threshold(accuracy, rows):
        calibration = GainCalibration.fit(gain[rows], (found.fused & ~found.retrieval)[rows])
        gains = np.array([accuracy.expected_gain(*ranking) for ranking in rankings])
        return gain_threshold(gains, target_gain, max_calls, calibration)

    for number, (_, accuracy) in enumerate(fits):
        expected = gain[folds == number] >= threshold(accuracy, folds != number)
        assert found.worth[folds == number].tolist() == expected.tolist()
    assert (benefit.fusion, benefit.pairwise_accuracy) == fitted_by_hand(trials)
    assert benefit.gain_threshold == threshold(benefit.pairwise_accuracy, slice(None))
    assert (benefit.identity, benefit.candidates) == ("model@1", 3)
