"""The number of wrong labels is estimated from predictions alone, and hard images are not taken for wrong labels."""

import math

import numpy as np
import pytest

from lmm_classifier.core.numerics import log_softmax
from lmm_classifier.evaluation import label_noise
from lmm_classifier.evaluation.label_noise import OrderedScores, expected_wrong_labels


def predictions(rng, count, labels, wrong, temperature=1.0, hardness=3.0):
    """Calibrated predictions of which some labels are changed at random; higher `hardness` makes easier images."""
    scores = hardness * rng.normal(size=(count, labels))
    probabilities = np.exp(log_softmax(scores))
    label_ids = np.array([rng.choice(labels, p=row) for row in probabilities])
    changed = rng.choice(count, wrong, replace=False)
    label_ids[changed] = (label_ids[changed] + rng.integers(1, labels, wrong)) % labels
    return log_softmax(scores / temperature), label_ids


def tempered(scores, temperature):
    """The softmax of a list of scores."""
    weights = [math.exp((score - max(scores)) / temperature) for score in scores]
    return [weight / sum(weights) for weight in weights]


def likelihoods_by_hand(scores, label_ids, mistakes, rates, temperature):
    """The definition: a label is right with probability 1 - rate, else what `mistakes` makes of each true label."""
    parts = []
    for row, label in zip(scores, label_ids):
        chances = tempered(row, temperature)
        wrong = sum(chance * mistakes[true][label] for true, chance in enumerate(chances))
        parts.append((chances[label], wrong))
    return [sum(math.log((1 - rate) * own + rate * wrong) for own, wrong in parts) for rate in rates]


def mistakes_by_hand(scores, label_ids, even, temperature, steps=40):
    """Expectation maximization, one sum at a time, from a rate of 3 %; one more mistake per label is spread evenly."""
    labels = range(len(even))
    chances = [tempered(row, temperature) for row in scores]
    rate, mistakes = 0.03, even
    for _ in range(steps):
        counts = [[even[true][label] for label in labels] for true in labels]
        expected = 0.0
        for chance, label in zip(chances, label_ids):
            parts = [rate * chance[true] * mistakes[true][label] for true in labels]
            total = (1 - rate) * chance[label] + sum(parts)
            for true in labels:
                counts[true][label] += parts[true] / total
            expected += sum(parts) / total
        rate = expected / len(label_ids)
        mistakes = [[count / sum(row) for count in row] for row in counts]
    return likelihoods_by_hand(scores, label_ids, mistakes, [rate], temperature)[0], mistakes


def confused(seed, count=40, labels=3):
    """Predictions of which some labels are wrong: mostly a for b."""
    rng = np.random.default_rng(seed)
    scores = log_softmax(3 * rng.normal(size=(count, labels)))
    label_ids = np.array([rng.choice(labels, p=np.exp(row)) for row in scores])
    changed = rng.choice(count, count // 4, replace=False)
    label_ids[changed] = np.where(label_ids[changed] == 0, 1, 0)
    return scores, label_ids


def even_mistakes(labels):
    """Every other label alike."""
    return [[0.0 if true == label else 1 / (labels - 1) for label in range(labels)] for true in range(labels)]


TEMPERATURES = [0.3 * 5 ** (number / 24) for number in range(25)]
RATES = [0.0, *(0.0005 * 1000 ** (number / 159) for number in range(160))]


@pytest.mark.parametrize("seed", range(3))
def test_confusions_are_those_of_expectation_maximization(seed):
    """Of every fourth temperature, the likeliest."""
    scores, label_ids = confused(seed)
    even = even_mistakes(3)
    fits = [mistakes_by_hand(scores.tolist(), label_ids.tolist(), even, t) for t in TEMPERATURES[::4]]
    found = label_noise._confusions(OrderedScores.of(scores, label_ids), np.array(even))
    np.testing.assert_allclose(found, max(fits, key=lambda fit: fit[0])[1], rtol=1e-9)
    assert (np.diag(found) == 0).all()
    for (likelihood, mistakes), temperature in zip(fits[::3], TEMPERATURES[::12]):
        at_once, fitted = label_noise._maximized(OrderedScores.of(scores, label_ids), np.array(even), temperature)
        assert at_once == pytest.approx(likelihood, rel=1e-9)
        np.testing.assert_allclose(fitted, mistakes, rtol=1e-9)


def interval_by_hand(scores, label_ids, mistakes):
    """The likeliest rate, and the rates whose likelihood is at most 1.92 less."""
    curves = [likelihoods_by_hand(scores, label_ids, mistakes, RATES, temperature) for temperature in TEMPERATURES]
    best = [max(values) for values in zip(*curves)]
    inside = [rate for rate, value in zip(RATES, best) if value >= max(best) - 1.92]
    return RATES[best.index(max(best))], min(inside), max(inside)


@pytest.mark.parametrize(("seed", "count", "labels"), [(0, 30, 3), (4, 30, 2), (2, 20, 4)])
def test_the_estimate_is_that_of_the_definition(seed, count, labels):
    """The likeliest rate of even mistakes, and the widest interval of both kinds of mistakes."""
    scores, label_ids = confused(seed, count, labels)
    even = even_mistakes(labels)
    fits = [mistakes_by_hand(scores.tolist(), label_ids.tolist(), even, t) for t in TEMPERATURES[::4]]
    confusions = max(fits, key=lambda fit: fit[0])[1]
    given = (scores.tolist(), label_ids.tolist())
    (rate, low, high), (_, other_low, other_high) = (interval_by_hand(*given, m) for m in (even, confusions))
    assert expected_wrong_labels(scores, label_ids) == label_noise.WrongLabels(
        round(rate * count), int(min(low, other_low) * count), math.ceil(max(high, other_high) * count)
    )
    for mistakes, expected in ((even, (rate, low, high)), (confusions, (rate, other_low, other_high))):
        profile = label_noise._profile(OrderedScores.of(scores, label_ids), np.array(mistakes))
        assert label_noise._interval(profile)[1:] == pytest.approx(expected[1:])


def test_a_sample_tells_the_number_among_more_labels():
    """The rates are those of the sample."""
    log_probabilities, label_ids = predictions(np.random.default_rng(0), 2000, 5, 200)
    found = expected_wrong_labels(log_probabilities, label_ids)
    among = expected_wrong_labels(log_probabilities, label_ids, among=20_000)
    assert found.expected > 100
    assert among.expected == pytest.approx(10 * found.expected, abs=5)
    assert among.low == pytest.approx(10 * found.low, abs=10)
    assert among.high == pytest.approx(10 * found.high, abs=10)


def test_labels_that_no_example_has_count():
    """A mistake may have been any label: the estimate is that of the definition, without a number for each pair."""
    scores, label_ids = confused(0, 30, 3)
    rng = np.random.default_rng(1)
    scores = log_softmax(np.insert(scores, [1, 3], rng.normal(size=(30, 2)) - 1, axis=1))  # labels 1 and 4 are new
    label_ids = np.array([0, 2, 3])[label_ids]
    even = even_mistakes(5)
    fits = [mistakes_by_hand(scores.tolist(), label_ids.tolist(), even, t) for t in TEMPERATURES[::4]]
    ordered = OrderedScores.of(scores, label_ids)
    np.testing.assert_array_equal(ordered.even(), np.array(even)[:, [0, 2, 3]])
    found = label_noise._confusions(ordered, ordered.even())
    expected = np.array(max(fits, key=lambda fit: fit[0])[1])[:, [0, 2, 3]]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    rate, low, high = interval_by_hand(scores.tolist(), label_ids.tolist(), even)
    assert label_noise._interval(label_noise._profile(ordered, ordered.even())) == pytest.approx((rate, low, high))


def test_very_many_labels_take_no_square_of_memory():
    """Of 50,000 labels, 400 are those of examples: a number for each pair of labels would take 20 GB."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(40, 50_000)).astype(np.float64)
    label_ids = rng.integers(50_000, size=40)
    scores[np.arange(40), label_ids] += 30
    found = OrderedScores.of(log_softmax(scores), label_ids).even()
    assert found.shape == (50_000, 40)
    assert found.sum(axis=0) == pytest.approx(1)


def test_an_impossible_prediction_is_believed_to_a_floor():
    """A label of probability 0 counts as one of e^-60 / temperature: a sure contradiction, but no infinite one."""
    scores = np.array([[0.0, -np.inf], [0.0, -1e6], [0.0, -60.0], [0.0, -61.0]])
    profiles = []
    for rows in ([0, 1], [2, 2], [3, 3]):
        label_ids = np.ones(2, np.int64)
        floored = np.maximum(scores[rows], label_noise._FLOOR)
        profiles.append(label_noise._profile(OrderedScores.of(floored, label_ids), np.array(even_mistakes(2))))
        assert np.isfinite(profiles[-1]).all()
    np.testing.assert_allclose(profiles[0], profiles[1])
    np.testing.assert_allclose(profiles[2], profiles[1])
    assert profiles[0][0] == pytest.approx(2 * -60 / 1.5)


def test_a_part_of_many_examples_stands_for_all(monkeypatch):
    """The numbers are those of all examples, and each example counts once at most."""
    scores, label_ids = predictions(np.random.default_rng(3), 400, 4, 40)
    whole = expected_wrong_labels(scores, label_ids)
    monkeypatch.setattr(label_noise, "_SAMPLE", 399)
    assert abs(expected_wrong_labels(scores, label_ids).expected - whole.expected) <= 2
    monkeypatch.setattr(label_noise, "_SAMPLE", 100)
    part = expected_wrong_labels(scores, label_ids)
    assert part.low <= whole.expected <= part.high
    assert part.high - part.low > whole.high - whole.low


def test_one_label_cannot_be_wrong():
    """There is no other one that could be meant."""
    assert expected_wrong_labels(np.zeros((5, 1)), np.zeros(5, np.int64)).expected == 0


@pytest.mark.parametrize("temperature", [1.0, 1.5])
@pytest.mark.parametrize("wrong", [0, 20, 80])
def test_the_number_is_found(wrong, temperature):
    """Though the temperature was fitted to wrong labels; the interval holds the number."""
    estimate = expected_wrong_labels(*predictions(np.random.default_rng(1), 1000, 6, wrong, temperature))
    assert estimate.low <= wrong <= estimate.high
    assert estimate.low <= estimate.expected <= estimate.high
    assert abs(estimate.expected - wrong) <= 15 + 0.3 * wrong


def test_hard_images_are_not_taken_for_wrong_labels():
    """Three of five predictions contradict the label, all of them unsure: none need be wrong."""
    scores, label_ids = predictions(np.random.default_rng(1), 1000, 6, 0, hardness=1.0)
    assert (scores.argmax(axis=1) != label_ids).mean() > 0.4
    estimate = expected_wrong_labels(scores, label_ids)
    assert estimate.low == 0
    assert estimate.expected < 40


@pytest.mark.long
def test_most_intervals_hold_the_number():
    """Of 20 draws at least 18."""
    held = 0
    for seed in range(20):
        scores, label_ids = predictions(np.random.default_rng(seed), 800, 5, 40)
        estimate = expected_wrong_labels(scores, label_ids)
        held += estimate.low <= 40 <= estimate.high
    assert held >= 18


def test_two_labels_and_few_examples():
    """Nothing fails where there is little to learn from."""
    scores, label_ids = predictions(np.random.default_rng(0), 6, 2, 0)
    estimate = expected_wrong_labels(scores, label_ids)
    assert 0 <= estimate.low <= estimate.expected <= estimate.high <= 6
