"""Each level has a guarantee of its own, on what the levels below leave open; together they hold as asked for."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.calibration.guarantees.held_out_results import HeldOutResults
from lmm_classifier.calibration.guarantees.outlook import guarantee_of
from lmm_classifier.calibration.guarantees.risk_control import NEVER, NoGuarantee, RiskGuarantee
from lmm_classifier.calibration.hierarchy.coarse_results import CoarseResults
from lmm_classifier.calibration.hierarchy.hierarchy_fit import HierarchyFit
from lmm_classifier.calibration.hierarchy.level_guarantees import guarantee_levels, required_guarantees
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.label_hierarchy import LabelHierarchy

THREE = LabelHierarchy({"a": ("x", "y"), "b": ("x", "y"), "c": ("x",), "d": ()})


def drawn(seed, count=400):
    """Results whose probabilities are true: labels, two levels above them, each surer than the one below."""
    rng = np.random.default_rng(seed)
    labels = rng.beta(3, 1, count)
    fine = labels + (1 - labels) * rng.beta(3, 1, count)
    coarse = fine + (1 - fine) * rng.beta(3, 1, count)
    draw = rng.random(count)  # a label that is right makes all above it right
    fine[rng.random(count) < 0.2] = np.nan  # a label at the root is the best
    results = HeldOutResults(labels, draw < labels, np.zeros(count))
    correct = np.stack([draw < np.nan_to_num(fine), draw < coarse])
    return results, HierarchyFit(THREE, CoarseResults(np.stack([fine, coarse]), correct))


def test_without_a_hierarchy_it_is_the_guarantee_of_labels():
    """Bit for bit."""
    results, _ = drawn(0)
    found = guarantee_levels(results, None, 0.9, 0.9)
    assert found.labels == guarantee_of(results, 0.9, 0.9)
    assert (found.coarse, found.thresholds) == ({}, {})
    assert found.answered == (found.labels.coverage,)
    assert found.wrong[0] == pytest.approx(found.labels.realized)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.8, 0.9, 0.95]))
def test_levels_divide_the_examples(seed, precision):
    """No example is answered twice, each level keeps its rate among the examples, and the deltas add up."""
    results, fit = drawn(seed)
    found = guarantee_levels(results, fit, precision, 0.9)
    assert list(found.coarse) == [2, 1]
    assert sum(found.answered) <= 1 + 1e-9
    assert all(wrong <= 1 - precision + 1e-9 for wrong in found.wrong)
    deltas = [guarantee.delta for guarantee in (found.labels, *found.coarse.values())]
    assert sum(deltas) == pytest.approx(0.1)
    assert found.answered[0] == pytest.approx(float((results.confidence >= found.threshold).mean()))


def test_the_guarantees_hold_on_new_examples():
    """In at least 90 of 100 draws every level has at most the accepted rate of errors, by true probabilities."""
    broken = 0
    for seed in range(100):
        results, fit = drawn(seed)
        found = guarantee_levels(results, fit, 0.9, 0.9)
        new, other = drawn(10_000 + seed, 20_000)
        is_open, rates = np.ones(len(new), bool), []
        parts = [(new.confidence, new.correct, found.threshold)]
        parts += [
            (other.results.confidence[number], other.results.correct[number], found.thresholds.get(depth, NEVER))
            for number, depth in enumerate(other.depths)
        ]
        for confidence, correct, threshold in parts:
            rows = is_open & (np.nan_to_num(confidence) >= threshold)
            rates.append(float((~correct)[rows].mean()) if rows.any() else 0.0)
            is_open &= ~rows
        broken += max(rates) > 0.1
    assert broken <= 10


def flat(seed, count=400):
    """Results of which every answer of every level is wrong a little more often than one in ten, whatever it says."""
    rng = np.random.default_rng(seed)
    confidence, wrong = rng.random((3, count)), rng.random(count) < 0.1005
    results = HeldOutResults(confidence[0], ~wrong, np.zeros(count))
    return results, HierarchyFit(THREE, CoarseResults(confidence[1:], np.stack([~wrong, ~wrong])))


@pytest.mark.long
def test_the_guarantees_hold_together_in_the_least_favorable_case():
    """A level that passes at all breaks its guarantee; with 90% that happens in at most a tenth of the draws."""
    draws = 2000
    found = [guarantee_levels(*flat(seed, (150, 400, 1000)[seed % 3]), 0.9, 0.9) for seed in range(draws)]
    broken = [(each.of_labels is not None, *(depth in each.thresholds for depth in (2, 1))) for each in found]
    assert 0.02 < np.mean([any(levels) for levels in broken]) <= 0.1
    assert (np.mean(broken, axis=0) <= 0.1 / 3 + 3 * np.sqrt(0.1 / 3 / draws)).all()


def test_an_unknown_image_is_answered_by_no_level():
    """It takes part in the tests, so the thresholds stay; but the fractions are of what is answered."""
    results, fit = drawn(5)
    results = replace(results, familiarity=np.arange(400.0))
    whole = guarantee_levels(results, fit, 0.9, 0.9)
    found = required_guarantees(results, fit, CalibrationRequest(0.9, keep_known=0.75))
    assert (found.labels, found.coarse) == (whole.labels, whole.coarse)
    assert all(part < every for part, every in zip(found.answered, whole.answered, strict=True))
    reaches = results.confidence >= found.threshold
    assert found.answered[0] == pytest.approx((reaches & (results.familiarity >= 100)).mean(), abs=0.005)
    assert sum(found.answered) <= 0.755


def test_a_level_may_answer_where_labels_cannot():
    """Then no probability reaches the threshold of labels; where no level can, the request is refused."""
    results, fit = drawn(3, 120)
    results = replace(results, correct=np.arange(120) % 3 > 0)
    sure = CoarseResults(np.full((2, 120), 0.99), np.ones((2, 120), bool))
    request = CalibrationRequest(0.95)
    found = required_guarantees(results, replace(fit, results=sure), request)
    assert isinstance(found.labels, NoGuarantee)
    assert found.of_labels is None
    assert found.threshold == NEVER > 1
    assert found.thresholds == {2: 0.99}
    assert isinstance(found.coarse[1], NoGuarantee)  # nothing is left
    with pytest.raises(CalibrationError, match="No calibration was stored"):
        required_guarantees(results, None, request)
    assert required_guarantees(results, fit, CalibrationRequest()) is None


def test_no_example_is_no_guarantee():
    """Also of none at all."""
    empty = HeldOutResults(np.empty(0), np.empty(0, bool), np.empty(0))
    fit = HierarchyFit(THREE, CoarseResults(np.empty((2, 0)), np.empty((2, 0), bool)))
    found = guarantee_levels(empty, fit, 0.9, 0.9)
    assert not isinstance(found.labels, RiskGuarantee)
    assert found.answered == (0, 0, 0)
