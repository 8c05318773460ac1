"""Encoders are fused by the weighted product of their probabilities; one alone is left as it is."""

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from lmm_classifier.calibration.fusion.encoder_fusion import FLOOR, EncoderFusion, log_odds

RNG = np.random.default_rng(0)
EACH = [log_softmax(RNG.normal(size=(7, 4)) * scale, axis=1) for scale in (1, 3)]
FUSION = EncoderFusion(np.array([0.7, 0.4]), center=0.5, spread=2.0)


def test_the_product_is_that_by_hand():
    """Weighted geometric mean of the probabilities, normalized."""
    product = np.exp(EACH[0]) ** 0.7 * np.exp(EACH[1]) ** 0.4
    expected = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(FUSION.log_probabilities(EACH)), expected)


def test_one_encoder_is_left_as_it_is():
    """Bit for bit, whatever its weight and the usual log-odds are, so an index of one encoder answers as before."""
    alone = EncoderFusion(np.array([0.3]), 5.0, 7.0)
    assert alone.log_probabilities(EACH[:1]) is EACH[0]
    familiarity = RNG.normal(size=7)
    assert alone.familiarity([familiarity], EACH[0]) is familiarity
    assert (alone.strongest(EACH[:1]) == 0).all()


def test_an_impossible_label_stays_impossible():
    """Where one encoder has no evidence for it; a label that is merely unlikely counts down to a floor."""
    first, second = EACH[0].copy(), EACH[1].copy()
    first[0, 1], second[2, 3], second[3, 0] = -np.inf, -np.inf, -1e9
    fused = FUSION.log_probabilities([first, second])
    assert fused[0, 1] == fused[2, 3] == -np.inf
    assert np.isfinite(fused).sum() == 26
    floored = second.copy()
    floored[3, 0] = FLOOR
    np.testing.assert_array_equal(fused[3], FUSION.log_probabilities([first, floored])[3])
    np.testing.assert_allclose(logsumexp(fused, axis=1), 0, atol=1e-12)
    nothing = FUSION.log_probabilities([np.full((2, 3), -np.inf), log_softmax(np.zeros((2, 3)), axis=1)])
    assert not np.isnan(nothing).any()


def test_a_probability_counts_down_to_one_in_nine_million():
    """A lower one is as unlikely, a higher one is not."""

    def fused(probability):
        certain = np.log([[1 - probability, probability]])
        return FUSION.log_probabilities([certain, np.log([[0.5, 0.5]])])[0, 1]

    assert fused(1e-7) == pytest.approx(fused(1e-9), abs=1e-6)
    assert fused(1.2e-7) > fused(1e-7) + 0.01


def test_usual_log_odds_are_zero_and_one_where_none_were_measured():
    """The log-odds themselves count then."""
    plain = EncoderFusion(np.array([0.7, 0.4]))
    fused = plain.log_probabilities(EACH)
    familiarity = plain.familiarity([np.zeros(7), np.zeros(7)], fused)
    np.testing.assert_allclose(familiarity, np.clip(log_odds(fused), -4, 4) / 4)


def test_familiarity_is_a_weighted_mean_and_a_quarter_of_the_log_odds():
    """Standardized and clipped at four."""
    familiarity = [np.linspace(-3, 1, 7), np.linspace(0, 2, 7)]
    fused = FUSION.log_probabilities(EACH)
    odds = np.clip((log_odds(fused) - 0.5) / 2.0, -4, 4)
    expected = (0.7 * familiarity[0] + 0.4 * familiarity[1]) / 1.1 + odds / 4
    np.testing.assert_allclose(FUSION.familiarity(familiarity, fused), expected)
    certain = np.log(np.array([[1 - 1e-300, 1e-300]]))
    assert FUSION.familiarity([np.zeros(1), np.zeros(1)], certain) == pytest.approx(1.0)
    assert FUSION.familiarity([np.zeros(1), np.zeros(1)], np.full((1, 2), -np.inf)) == pytest.approx(-1.0)


def test_the_usual_log_odds_are_those_of_the_held_out_examples():
    """Their median, and a robust standard deviation."""
    fitted = EncoderFusion.fit(FUSION.weights, EACH)
    odds = log_odds(FUSION.log_probabilities(EACH))
    assert fitted.center == pytest.approx(np.median(odds))
    assert fitted.spread > 0
    np.testing.assert_array_equal(fitted.weights, FUSION.weights)


def test_the_strongest_encoder_is_the_one_with_the_greatest_weighted_gain():
    """Measured from a label by chance: an encoder of little weight would win every unlikely label otherwise."""
    each = [np.log([[0.7, 0.1, 0.1, 0.1]]), np.log([[0.3, 0.6, 0.05, 0.05]])]
    assert EncoderFusion(np.array([1.0, 0.5])).strongest(each).tolist() == [[0, 1, 1, 1]]
    assert EncoderFusion(np.array([1.0, 1e-9])).strongest(each)[0, 0] == 0
    impossible = [np.log([[1.0, 1e-300]]), np.array([[0.0, -np.inf]])]
    assert EncoderFusion(np.array([1.0, 1.0])).strongest(impossible).shape == (1, 2)


def test_of_a_single_label_or_none_every_encoder_is_as_strong():
    """By chance the only label has a probability of 1, which nothing exceeds; the first encoder is named."""
    weights = EncoderFusion(np.array([0.4, 0.7]))
    assert weights.strongest([np.zeros((2, 1))] * 2).tolist() == [[0], [0]]
    assert weights.strongest([np.empty((2, 0))] * 2).shape == (2, 0)


def test_log_odds_are_exact_for_nearly_certain_labels():
    """Where 1 - p rounds to 0; the formula holds for all others too."""
    for gap in (0.1, 1.0, 30.0, 700.0):
        logs = log_softmax(np.array([[0.0, -gap, -gap - 1]]), axis=1)
        assert log_odds(logs) == pytest.approx(-np.logaddexp(-gap, -gap - 1))
    probabilities = np.exp(EACH[0].max(axis=1))
    np.testing.assert_allclose(log_odds(EACH[0]), np.log(probabilities / (1 - probabilities)))
    assert log_odds(np.array([[-np.inf, 0.0]])).tolist() == [np.inf]
    assert log_odds(np.array([[0.0]])).tolist() == [np.inf]
    assert log_odds(np.full((1, 3), -np.inf)).tolist() == [-np.inf]
    assert log_odds(np.empty((2, 0))).tolist() == [-np.inf] * 2
    assert log_odds(np.array([[np.log(0.5), np.log(0.5), -np.inf]])) == pytest.approx(0.0)


def test_it_is_rebuilt_from_plain_values():
    """And impossible values are refused."""
    again = EncoderFusion.from_dict(FUSION.to_dict())
    assert (again.weights.tolist(), again.center, again.spread) == ([0.7, 0.4], 0.5, 2.0)
    values = FUSION.to_dict()
    for change in (
        {"weights": [[1.0]]}, {"weights": [1.0, 0.0]}, {"weights": [1.0, -1.0]}, {"weights": [float("nan")]},
        {"weights": "ab"}, {"spread": 0.0}, {"spread": float("inf")}, {"center": float("nan")}, {"center": "x"},
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError)):
            EncoderFusion.from_dict({**values, **change})
    for missing in values:
        with pytest.raises(KeyError):
            EncoderFusion.from_dict({name: value for name, value in values.items() if name != missing})
