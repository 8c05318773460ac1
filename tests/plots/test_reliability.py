"""The reliability diagram draws the bins and their intervals."""

import numpy as np
import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.metrics import expected_calibration_error, reliability, wilson_interval
from lmm_classifier.plots import ReliabilityDisplay
from tests.plots.evaluations import evaluation


@pytest.mark.parametrize("bins", [1, 15])
def test_what_is_drawn_are_the_bins(bins):
    """The points, the ends of their bars, and the error in the legend."""
    results = evaluation()
    parts = reliability(results.confidence, results.correct, bins)
    display = ReliabilityDisplay.from_evaluation(results, bins=bins)
    assert np.allclose(display.line_.get_xydata(), [(part.confidence, part.accuracy) for part in parts])
    (segments,) = [list(bars.get_segments()) for bars in display.ax_.collections]
    intervals = [wilson_interval(round(part.accuracy * part.count), part.count) for part in parts]
    assert np.allclose([segment[:, 1] for segment in segments], intervals)
    error = expected_calibration_error(results.confidence, results.correct, bins)
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["calibrated", f"expected calibration error {error:.3f}"]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("confidence (0 to 1)", "accuracy (0 to 1)")


def test_bins_are_at_least_one():
    """Zero would draw nothing."""
    with pytest.raises(ConfigError, match="bins is 0"):
        ReliabilityDisplay.from_evaluation(evaluation(), bins=0)
