"""The weights of encoders are those of the least penalized log-loss on held-out examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import log_softmax

from lmm_classifier.calibration.fusion import fusion_weights as module
from lmm_classifier.calibration.fusion.encoder_fusion import FLOOR
from lmm_classifier.calibration.fusion.fusion_weights import fit_weights, weight_evidence

RIDGE = 10.0


def predictions(rng, skills, count=300, labels=5):
    """Log-probabilities (n, C) of encoders whose evidence for the true label has these strengths, and true labels."""
    truth = rng.integers(0, labels, count)
    evidence = [rng.normal(size=(count, labels)) + skill * np.eye(labels)[truth] for skill in skills]
    return [log_softmax(part, axis=1) for part in evidence], truth


def loss(weights, each, truth):
    """The log-loss of the weighted product, and the ridge, computed by hand."""
    possible = np.all([np.isfinite(logs) for logs in each], axis=0)
    total = sum(weight * np.maximum(logs, FLOOR) for weight, logs in zip(weights, each))
    fused = log_softmax(np.where(possible, total, -np.inf), axis=1)
    penalty = RIDGE / 2 * ((np.asarray(weights) - 1 / len(each)) ** 2).sum()
    return -fused[np.arange(len(truth)), truth].sum() + penalty


def by_scipy(each, truth):
    start = np.full(len(each), 1 / len(each))
    return minimize(loss, start, (each, truth), "L-BFGS-B", bounds=[(0, None)] * len(each), options={"ftol": 1e-14}).x


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("skills", [[2.0], [2.0, 1.0], [1.5, 0.0], [3.0, 2.0, 0.0, -1.0]])
def test_weights_are_those_of_a_general_minimizer(seed, skills):
    """For encoders of any skill, also useless and misleading ones, whose weight is 0."""
    each, truth = predictions(np.random.default_rng(seed), skills)
    found, expected = fit_weights(each, truth), by_scipy(each, truth)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert loss(found, each, truth) <= loss(expected, each, truth) + 1e-6
    assert (found >= 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 40), st.integers(1, 6))
def test_no_other_weights_have_less_loss(seed, encoders, count, labels):
    """The loss is convex, so nowhere around the minimum is there less, however few examples or labels there are."""
    rng = np.random.default_rng(seed)
    each, truth = predictions(rng, rng.normal(1, 1, encoders), count, labels)
    found = fit_weights(each, truth)
    least = loss(found, each, truth)
    for other in np.maximum(found + rng.normal(size=(20, encoders)) * rng.choice([1e-3, 0.1, 1], (20, 1)), 0):
        assert loss(other, each, truth) >= least - 1e-7
        middle = loss((found + other) / 2, each, truth)
        assert middle <= (least + loss(other, each, truth)) / 2 + 1e-7


def slopes(function, at, step=1e-5):
    """The derivatives of a function at a point by central differences, the first axis along the point."""
    moves = step * np.eye(len(at))
    return np.array([(function(at + move) - function(at - move)) / (2 * step) for move in moves])


def uneven_predictions(seed):
    """Log-probabilities of two to four encoders that err together and are too certain or too careful, and labels."""
    rng = np.random.default_rng(seed)
    encoders, labels, count = int(rng.integers(2, 5)), int(rng.integers(2, 6)), int(rng.integers(5, 60))
    truth, shared = rng.integers(0, labels, count), rng.normal(size=(count, labels)) * rng.uniform(0, 3)
    each = []
    for _ in range(encoders):
        evidence = rng.normal(size=(count, labels)) + shared + rng.normal(0, 2) * np.eye(labels)[truth]
        each.append(log_softmax(evidence * np.exp(rng.normal()), axis=1))
    return each, truth


@pytest.mark.parametrize("seed", [*range(8), 17, 67, 81])
def test_the_loss_falls_in_no_direction(seed):
    """The conditions of a minimum: no slope along a weight, and none downwards where a weight is 0.

    In some of these datasets the first steps put to 0 what must not stay there.
    """
    each, truth = uneven_predictions(seed)
    found = fit_weights(each, truth)
    slope = slopes(lambda weights: loss(weights, each, truth), found)
    np.testing.assert_allclose(slope[found > 0], 0, atol=1e-3)
    assert (slope[found == 0] > -1e-3).all()


@pytest.mark.parametrize("seed", [2, 4, 15])
def test_evidence_is_that_of_the_score_test(seed):
    """The slope of the loss at the weight zero, in errors of what the other weights cannot explain (White, 1982)."""
    each, truth = uneven_predictions(seed)
    one, all_of = np.arange(len(truth)), list(range(len(each)))

    def losses(weights):
        return -log_softmax(sum(w * np.maximum(logs, FLOOR) for w, logs in zip(weights, each)), axis=1)[one, truth]

    expected = []
    for encoder in all_of:
        bounds = [(0, 0 if other == encoder else None) for other in all_of]
        start = np.array([0 if other == encoder else 1 / len(each) for other in all_of])
        least = minimize(loss, start, (each, truth), "L-BFGS-B", bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-9}).x
        curvature = slopes(lambda at: slopes(lambda w: loss(w, each, truth), at, 1e-4), least, 1e-4)
        others = [other for other in all_of if other != encoder and least[other] > 1e-6]
        explained = np.linalg.solve(curvature[np.ix_(others, others)], curvature[others, encoder])
        of_examples = slopes(losses, least)  # (E, n)
        error = np.sqrt(((of_examples[encoder] - explained @ of_examples[others]) ** 2).sum())
        expected.append(-of_examples[encoder].sum() / error)
    np.testing.assert_allclose(weight_evidence(each, truth), expected, rtol=2e-3, atol=2e-3)


@pytest.mark.long
@pytest.mark.parametrize("count", [40, 400])
def test_noise_has_the_evidence_of_chance(count):
    """Whatever the scale of its probabilities: about as often above one error as a normal variable, 16 %."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        each, truth = predictions(rng, [2.0, 0.0, 0.0], count)
        each[2] = log_softmax(0.01 * each[2], axis=1)  # nearly uniform, as after the fit of its temperature
        found.append(weight_evidence(each, truth))
    good, *noise = np.array(found).T
    assert (good > 3).all()
    assert 0.05 < (np.array(noise) > 1).mean() < 0.28


def test_evidence_does_not_depend_on_the_scale_of_probabilities():
    """Only on which labels an encoder prefers."""
    each, truth = predictions(np.random.default_rng(1), [2.0, 1.0], 100)
    scaled = [each[0], 0.1 * each[1]]
    assert weight_evidence(scaled, truth)[1] == pytest.approx(weight_evidence(each, truth)[1])


def test_where_no_example_tells_anything_every_encoder_is_useful():
    """With one label, or with no example that counts."""
    one_label = [np.zeros((5, 1)), np.zeros((5, 1))]
    assert np.isposinf(weight_evidence(one_label, np.zeros(5, np.int64))).all()
    assert np.isposinf(weight_evidence([np.empty((0, 0))] * 2, np.empty(0, np.int64))).all()


def test_without_labels_the_weights_are_equal():
    """An index may hold nothing yet."""
    np.testing.assert_array_equal(fit_weights([np.empty((0, 0))] * 4, np.empty(0, np.int64)), 0.25)


def test_the_order_of_the_encoders_does_not_matter():
    """Each weight and its evidence follow the encoder."""
    each, truth = predictions(np.random.default_rng(0), [2.0, 1.0, 0.5])
    fitted = fit_weights(each, truth)
    for order in ([2, 0, 1], [1, 0, 2], [2, 1, 0]):
        again = fit_weights([each[place] for place in order], truth)
        np.testing.assert_allclose(again, fitted[order], rtol=1e-6)
        evidence = weight_evidence([each[place] for place in order], truth)
        np.testing.assert_allclose(evidence, weight_evidence(each, truth)[order], rtol=1e-4)


def test_faultless_examples_do_not_make_the_product_certain():
    """The log-loss alone would grow the weights forever: the ridge holds them, and few examples leave them equal."""
    certain = log_softmax(10 * np.eye(3)[np.arange(30) % 3], axis=1)
    fitted = fit_weights([certain, certain], np.arange(30) % 3)
    np.testing.assert_allclose(fitted, 0.5, atol=0.01)
    none = fit_weights([certain[:0], certain[:0], certain[:0]], np.arange(0))
    np.testing.assert_allclose(none, 1 / 3)


def test_impossible_labels():
    """They stay impossible for the product, and an example whose true label is one is left aside."""
    rng = np.random.default_rng(3)
    each, truth = predictions(rng, [2.0, 1.0])
    each[0][rng.random(each[0].shape) < 0.2] = -np.inf
    each[1][:, 4] = -np.inf
    kept = np.isfinite(each[0][np.arange(300), truth]) & np.isfinite(each[1][np.arange(300), truth])
    fitted = fit_weights(each, truth)
    np.testing.assert_allclose(fitted, by_scipy([part[kept] for part in each], truth[kept]), atol=2e-3)
    nothing = [np.full((4, 3), -np.inf), np.zeros((4, 3))]
    np.testing.assert_allclose(fit_weights(nothing, np.array([0, 1, 2, 0])), 0.5)


def test_a_log_probability_counts_only_down_to_the_floor():
    """One encoder that is certain of a wrong label cannot outweigh all other examples."""
    each, truth = predictions(np.random.default_rng(4), [2.0, 2.0])
    deep = [each[0].copy(), each[1]]
    deep[0][0, truth[0]] = -1e6
    floored = [each[0].copy(), each[1]]
    floored[0][0, truth[0]] = FLOOR
    np.testing.assert_array_equal(fit_weights(deep, truth), fit_weights(floored, truth))


def test_a_sample_of_very_many_scores_serves_as_well(monkeypatch):
    """It is the same sample each time."""
    each, truth = predictions(np.random.default_rng(5), [2.0, 1.0], 4000)
    whole = fit_weights(each, truth)
    monkeypatch.setattr(module, "_MAX_SCORES", 5 * 2000)
    sampled = fit_weights(each, truth)
    assert not np.array_equal(sampled, whole)
    np.testing.assert_allclose(sampled, whole, atol=0.1)
    np.testing.assert_array_equal(fit_weights(each, truth), sampled)
