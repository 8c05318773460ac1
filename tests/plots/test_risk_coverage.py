"""The risk-coverage curve is that of the metrics."""

import numpy as np

from lmm_classifier.core.metrics import area_under_risk_coverage, risk_coverage
from lmm_classifier.plots import RiskCoverageDisplay
from tests.plots.evaluations import evaluation


def test_what_is_drawn_is_the_curve():
    """The curve, the line of all answers at its end, and the area."""
    results = evaluation()
    coverage, risk = risk_coverage(results.confidence, results.correct)
    display = RiskCoverageDisplay.from_evaluation(results)
    assert np.array_equal(display.line_.get_xydata(), np.column_stack([coverage, risk]))
    everything = display.ax_.lines[0]
    assert np.allclose(everything.get_ydata(), 1 - results.correct.mean())
    area = area_under_risk_coverage(results.confidence, results.correct)
    assert display.ax_.get_legend().get_texts()[1].get_text() == f"most confident first, area {area:.3f}"
    assert display.ax_.get_ylim()[1] > risk.max()


def test_no_error_at_all_still_has_an_axis():
    """The curve lies on zero, and the axis has a height."""
    display = RiskCoverageDisplay(np.array([0.5, 1.0]), np.zeros(2), 0.0).plot()
    assert display.ax_.get_ylim() == (0, 0.01)
