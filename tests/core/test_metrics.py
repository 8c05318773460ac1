"""Metrics agree with scikit-learn and SciPy, and with small examples computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn import metrics as sklearn_metrics

from lmm_classifier.core import metrics

numbers = st.lists(st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9]), min_size=1, max_size=30).map(np.array)


@given(st.integers(0, 40), st.integers(0, 40))
def test_wilson_interval(right, more):
    """The interval is SciPy's of the same name."""
    count = right + more
    if count == 0:
        assert metrics.wilson_interval(0, 0) == (0, 1)
        return
    expected = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert metrics.wilson_interval(right, count, 1.959963984540054) == pytest.approx(tuple(expected), abs=1e-9)


@pytest.mark.long
@given(numbers, numbers)
def test_auroc(known, unknown):
    """AUROC is scikit-learn's, with ties."""
    truth = np.r_[np.ones(len(known)), np.zeros(len(unknown))]
    expected = sklearn_metrics.roc_auc_score(truth, np.r_[known, unknown])
    assert metrics.auroc(known, unknown) == pytest.approx(expected)


@given(numbers, numbers)
def test_fpr_at_tpr(known, unknown):
    """It is the least false positive rate on scikit-learn's ROC curve whose true positive rate is enough."""
    truth = np.r_[np.ones(len(known)), np.zeros(len(unknown))]
    false, true, _ = sklearn_metrics.roc_curve(truth, np.r_[known, unknown], drop_intermediate=False)
    assert metrics.fpr_at_tpr(known, unknown, 0.9) == pytest.approx(false[true >= 0.9 - 1e-12].min())


@given(st.permutations(range(12)), st.lists(st.booleans(), min_size=12, max_size=12))
def test_average_precision(ranking, relevant):
    """Average precision is scikit-learn's."""
    relevant = np.array(relevant)
    if not relevant.any():
        assert metrics.average_precision(np.array(ranking, float), relevant) == 0
        return
    expected = sklearn_metrics.average_precision_score(relevant, ranking)
    assert metrics.average_precision(np.array(ranking, float), relevant) == pytest.approx(expected)


def test_brier_score():
    """The score is scikit-learn's loss of the same name, on the confidence in the answer."""
    rng = np.random.default_rng(0)
    confidence, right = rng.random(50), rng.random(50) < 0.5
    expected = sklearn_metrics.brier_score_loss(right, confidence)
    assert metrics.brier_score(confidence, right) == pytest.approx(expected)


def test_calibration_error_by_hand():
    """Two bins: of confidence 0.2 half is right, of confidence 0.9 all are."""
    confidence = np.array([0.2, 0.9, 0.2, 0.9])
    right = np.array([True, True, False, True])
    assert metrics.expected_calibration_error(confidence, right, bins=2) == pytest.approx((0.3 + 0.1) / 2)
    parts = metrics.reliability(confidence, right, bins=2)
    assert [(part.count, part.confidence, part.accuracy) for part in parts] == [
        (2, pytest.approx(0.2), 0.5),
        (2, pytest.approx(0.9), 1.0),
    ]


def test_calibration_error_agrees_with_scikit_learn():
    """With equally filled bins and no ties, scikit-learn's calibration curve has the same points."""
    from sklearn.calibration import calibration_curve

    rng = np.random.default_rng(1)
    confidence = rng.permutation(np.linspace(0.01, 0.99, 150))
    right = rng.random(150) < confidence
    accuracy, mean = calibration_curve(right, confidence, n_bins=15, strategy="quantile")
    parts = metrics.reliability(confidence, right, 15)
    np.testing.assert_allclose([part.accuracy for part in parts], accuracy)
    np.testing.assert_allclose([part.confidence for part in parts], mean)
    expected = np.abs(accuracy - mean).mean()
    assert metrics.expected_calibration_error(confidence, right) == pytest.approx(expected)


def test_risk_and_coverage_by_hand():
    """By confidence: one right, one wrong, and two of equal confidence of which one is right."""
    confidence = np.array([0.9, 0.8, 0.5, 0.5])
    right = np.array([True, False, True, False])
    coverage, risk = metrics.risk_coverage(confidence, right)
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 1 / 2, 1.5 / 3, 2 / 4])
    assert metrics.area_under_risk_coverage(confidence, right) == pytest.approx(1.5 / 4)
    assert metrics.coverage_at_risk(confidence, right, 0.1) == 0.25
    assert metrics.coverage_at_risk(confidence, right, 0.5) == 1


@given(numbers, st.data())
def test_order_does_not_matter(confidence, data):
    """No metric depends on the order of the images, with ties or without."""
    right = np.array(data.draw(st.lists(st.booleans(), min_size=len(confidence), max_size=len(confidence))))
    order = np.array(data.draw(st.permutations(range(len(confidence)))))
    for measure in (metrics.area_under_risk_coverage, metrics.brier_score):
        assert measure(confidence, right) == pytest.approx(measure(confidence[order], right[order]))


def test_ccr_at_fpr():
    """Of four known images two pass the most familiar unknown one, and one of them is right."""
    known, right = np.array([0.9, 0.8, 0.3, 0.2]), np.array([True, False, True, True])
    assert metrics.ccr_at_fpr(known, right, np.array([0.5, 0.1]), 0.0) == 0.25
    assert metrics.ccr_at_fpr(known, right, np.array([0.5, 0.1]), 0.5) == 0.75
    assert metrics.ccr_at_fpr(known, right, np.array([0.5, 0.1]), 1.0) == 0.75


def test_empty_input():
    """Empty input gives NaN or 0, and no warning."""
    none, flags = np.empty(0), np.empty(0, bool)
    assert np.isnan(metrics.auroc(none, none))
    assert np.isnan(metrics.fpr_at_tpr(none, none))
    assert np.isnan(metrics.ccr_at_fpr(none, flags, none, 0.1))
    assert metrics.area_under_risk_coverage(none, flags) == 0
    assert metrics.coverage_at_risk(none, flags, 0.1) == 0
    assert metrics.expected_calibration_error(none, flags) == 0


def test_mann_whitney():
    """The z score gives SciPy's two-sided p-value without the continuity correction."""
    from scipy.stats import mannwhitneyu, norm

    rng = np.random.default_rng(0)
    first, second = rng.normal(0.3, 1, 40), rng.normal(0, 1, 60)
    expected = mannwhitneyu(first, second, method="asymptotic", use_continuity=False).pvalue
    z = metrics.mann_whitney_z(first, second)
    assert z > 0
    assert 2 * norm.sf(abs(z)) == pytest.approx(expected)
    assert metrics.mann_whitney_z(first, np.empty(0)) == 0


def test_the_interval_of_independent_groups_is_that_of_trials():
    """With one trial in each group it is that of Wilson but for the degrees of freedom."""
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.8
    low, high = metrics.clustered_interval(right, np.arange(400))
    expected = metrics.wilson_interval(int(right.sum()), 400)
    assert low == pytest.approx(expected[0], abs=1e-3)
    assert high == pytest.approx(expected[1], abs=1e-3)


def test_repeated_trials_count_once():
    """Ten copies of each trial give the interval of the trials themselves, and not a narrower one."""
    right = np.random.default_rng(0).random(60) < 0.7
    one = metrics.clustered_interval(right, np.arange(60))
    ten = metrics.clustered_interval(np.repeat(right, 10), np.repeat(np.arange(60), 10))
    assert ten == pytest.approx(one)
    narrow = metrics.wilson_interval(int(right.sum()) * 10, 600)
    assert ten[1] - ten[0] > 2.5 * (narrow[1] - narrow[0])


@pytest.mark.parametrize("groups", [12, 40])
def test_the_clustered_interval_covers_the_truth(groups):
    """Of draws with strong groups, about 95% of the intervals hold the true fraction; those of Wilson far fewer."""
    rng, covered, naive = np.random.default_rng(1), 0, 0
    for _ in range(400):
        of_group = rng.beta(2, 1, groups)  # its mean is 2/3
        right = rng.random((groups, 20)) < of_group[:, None]
        low, high = metrics.clustered_interval(right.ravel(), np.repeat(np.arange(groups), 20))
        covered += low <= 2 / 3 <= high
        low, high = metrics.wilson_interval(int(right.sum()), right.size)
        naive += low <= 2 / 3 <= high
    assert 0.92 <= covered / 400 <= 0.99
    assert naive / 400 < 0.75


@pytest.mark.parametrize(
    ("right", "groups", "interval"),
    [
        ([], [], (0, 1)),
        ([True] * 50, [3] * 50, (0, 1)),
        ([True] * 50, [1, 2] * 25, metrics.wilson_interval(2 * (1.96 / 9.7) ** 2, 2 * (1.96 / 9.7) ** 2)),
        ([True, False] * 25, list(range(25)) * 2, None),
    ],
)
def test_clustered_intervals_of_few_groups(right, groups, interval):
    """One group tells nothing; two groups that are all right tell hardly more."""
    low, high = metrics.clustered_interval(np.array(right, bool), np.array(groups, np.int64))
    assert 0 <= low <= high <= 1
    if interval is not None:
        assert (low, high) == pytest.approx(interval, abs=0.01)
