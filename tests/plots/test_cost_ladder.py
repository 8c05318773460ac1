"""The cost ladder draws every ladder, and names those that no cheaper one equals."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.fusion.ladders import Ladder
from lmm_classifier.core.errors import CalibrationError, ConfigError
from lmm_classifier.plots import CostLadderDisplay


def ladder(name, milliseconds, accuracy, coverage=0.5):
    return Ladder(tuple(name.split()), " " in name, accuracy, coverage, 0.95, (1.0,), milliseconds)


LADDERS = [
    ladder("large", 40.0, 0.92, 0.8),
    ladder("small", 4.0, 0.80, 0.5),
    ladder("small large", 16.0, 0.92, 0.7),
    ladder("other", 4.0, 0.78, 0.6),
    ladder("worse", 20.0, 0.85, 0.6),
]


def legend(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_what_is_drawn_are_the_ladders():
    """All as dots; the line holds those that no cheaper one equals, with their names."""
    display = CostLadderDisplay(LADDERS).plot()
    points = [(ladder.milliseconds, ladder.accuracy) for ladder in LADDERS]
    assert np.allclose(display.points_.get_offsets(), points)
    assert np.allclose(display.line_.get_xydata(), [points[1], points[2]])
    assert [(text.get_text(), text.xy) for text in display.ax_.texts] == [("1", points[1]), ("2", points[2])]
    assert legend(display)[2:] == ["1: small", "2: small -> large"]
    assert display.ax_.get_ylabel() == "accuracy (0 to 1)"


def test_coverage_is_drawn_at_its_precision():
    """It has another frontier."""
    display = CostLadderDisplay(LADDERS, "coverage").plot()
    assert legend(display)[2:] == ["1: other", "2: small -> large", "3: large"]
    assert display.ax_.get_ylabel() == "coverage at 95% precision (0 to 1)"


def test_what_cannot_be_drawn_is_said():
    """No ladder, one without a time, another measure."""
    with pytest.raises(CalibrationError, match="index with several encoders"):
        CostLadderDisplay([])
    with pytest.raises(CalibrationError, match="time of large was not measured"):
        CostLadderDisplay([replace(LADDERS[0], milliseconds=None)])
    with pytest.raises(ConfigError, match="Expected one of accuracy, coverage"):
        CostLadderDisplay(LADDERS, "speed")
