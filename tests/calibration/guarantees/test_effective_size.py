"""Examples that are right or wrong together count as fewer, as many as the variance of their mean says."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import betainc

from lmm_classifier.calibration.guarantees.effective_size import (
    effective_sizes,
    error_correlation,
    fractional_binomial_cdf,
)
from lmm_classifier.calibration.guarantees.risk_control import (
    NoGuarantee,
    RiskGuarantee,
    binomial_cdf,
    fixed_sequence_threshold,
    min_error_free_examples,
)


def draw(rng, objects, images, together, errors=0.2):
    """Confidences and correctness of `images` images of each object; a fraction `together` shares its object's fate."""
    groups = np.repeat(np.arange(objects), images)
    fate, own = rng.random(objects)[groups], rng.random(objects * images)
    luck = np.where(rng.random(objects * images) < together, fate, own)
    return np.full(len(groups), 1 - errors), luck >= errors, groups


@pytest.mark.parametrize("together", [0.0, 0.5, 1.0])
def test_the_correlation_is_that_of_two_images_of_one_object(together):
    """Two images have the same fate where both share that of the object."""
    confidence, correct, groups = draw(np.random.default_rng(0), 4000, 5, together)
    assert error_correlation(confidence, correct, groups) == pytest.approx(together**2, abs=0.03)


def test_what_the_confidence_tells_is_no_correlation():
    """Hard objects and easy ones, whose confidence says so: errors are independent beyond that."""
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(3000), 4)
    confidence = rng.choice([0.6, 0.99], 3000)[groups]
    correct = rng.random(len(groups)) < confidence
    assert error_correlation(confidence, correct, groups) < 0.03


def test_without_uncertainty_or_groups_there_is_no_correlation():
    """Certain answers, single examples, and none at all."""
    assert error_correlation(np.ones(4), np.ones(4, bool), np.zeros(4, int)) == 0
    assert error_correlation(np.full(3, 0.5), np.array([True, False, True]), np.arange(3)) == 0
    assert error_correlation(np.empty(0), np.empty(0, bool), np.empty(0, int)) == 0


def sizes_by_hand(groups, correlation):
    """The size of each beginning, divided by its design effect."""
    sizes = []
    for count in range(1, len(groups) + 1):
        squares = np.square(np.unique(groups[:count], return_counts=True)[1]).sum()
        sizes.append(count / (1 + (squares / count - 1) * correlation))
    return sizes


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
def test_the_sizes_equal_those_by_hand(correlation):
    """At every depth of a ranking in which the groups are mixed."""
    groups = np.random.default_rng(2).integers(0, 7, 60)
    np.testing.assert_allclose(effective_sizes(groups, correlation), sizes_by_hand(groups, correlation))


def test_the_variance_of_a_mean_is_that_of_the_effective_size():
    """Of 20,000 draws of twelve objects with five images each, as it is defined."""
    rng = np.random.default_rng(3)
    means = [draw(rng, 12, 5, 0.7)[1].mean() for _ in range(20_000)]
    groups = np.repeat(np.arange(12), 5)
    assert 0.2 * 0.8 / np.var(means) == pytest.approx(effective_sizes(groups, 0.49)[-1], rel=0.05)


@pytest.mark.long
@settings(max_examples=300)
@given(st.floats(0.05, 5000), st.floats(0, 1), st.floats(0.001, 0.999))
def test_fractions_of_counts_continue_the_binomial_distribution(count, fraction, rate):
    """As scipy's incomplete beta function does; at whole numbers it is the binomial distribution."""
    errors = fraction * count
    found = fractional_binomial_cdf(errors, count, rate)
    expected = betainc(count - errors, errors + 1, 1 - rate) if errors < count else 1
    assert found == pytest.approx(expected, abs=1e-9)
    whole, below = math.ceil(count), math.floor(errors)
    assert fractional_binomial_cdf(below, whole, rate) == pytest.approx(binomial_cdf(below, whole, rate), abs=1e-9)


def ranked(rng, objects, images, together):
    """Draw objects of which the sure ones are right; images of one object share their fate with chance `together`."""
    groups = np.repeat(np.arange(objects), images)
    confidence = np.repeat(rng.uniform(0.5, 1, objects), images)
    fate, own = rng.random(objects)[groups], rng.random(len(groups))
    luck = np.where(rng.random(len(groups)) < together, fate, own)
    return confidence + 1e-9 * rng.random(len(groups)), luck < confidence, groups


def test_single_examples_are_certified_as_without_groups():
    """Each example its own group changes nothing, to the last bit."""
    for seed in range(20):
        confidence, correct, _ = ranked(np.random.default_rng(seed), 400, 1, 0)
        alone = fixed_sequence_threshold(confidence, correct, 0.1)
        assert fixed_sequence_threshold(confidence, correct, 0.1, groups=np.arange(400)) == alone


def test_a_guarantee_about_objects_is_kept():
    """Eight images of each object: counted one by one the guarantee fails too often, and with groups it is kept."""
    broken = {"alone": 0, "grouped": 0}
    for seed in range(200):
        confidence, correct, groups = ranked(np.random.default_rng(seed), 300, 8, 1.0)
        for name, numbers in (("alone", None), ("grouped", groups)):
            found = fixed_sequence_threshold(confidence, correct, 0.1, groups=numbers)
            if isinstance(found, RiskGuarantee):
                broken[name] += (1 - found.threshold) / 2 > 0.1  # the true error rate above a confidence
    assert broken["alone"] > 30
    assert broken["grouped"] <= 20


def test_too_few_objects_are_refused_although_they_have_many_images():
    """The reason says what the examples count as."""
    needed = min_error_free_examples(0.05, 0.05)
    confidence, correct, groups = draw(np.random.default_rng(5), needed - 1, 20, 1.0, errors=0.02)
    found = fixed_sequence_threshold(confidence, correct, 0.05, groups=groups)
    assert isinstance(found, NoGuarantee)
    assert f"the {len(groups)} examples count as" in found.reason
    assert "because groups of them are right or wrong together" in found.reason
