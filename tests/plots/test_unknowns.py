"""The histograms of familiarity hold every image."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.metrics import auroc
from lmm_classifier.plots import UnknownsDisplay
from tests.plots.evaluations import evaluation


def test_what_is_drawn_are_the_fractions():
    """Of both kinds, over the same edges; the threshold and AUROC are said."""
    results = evaluation()
    display = UnknownsDisplay.from_evaluation(results, threshold=-1.6)
    for name, values in (("known", results.familiarity), ("unknown", results.unknown_familiarity)):
        drawn = display.bars_[name].get_data()
        assert np.allclose(drawn.edges, np.linspace(-4, 4, 33))
        assert drawn.values.sum() == pytest.approx(1)
        expected = ((values >= -0.25) & (values < 0)).mean()
        assert drawn.values[15] == pytest.approx(expected)
    assert list(display.threshold_.get_xdata()) == [-1.6, -1.6]
    assert (
        display.ax_.get_legend().get_title().get_text()
        == f"AUROC {auroc(results.familiarity, results.unknown_familiarity):.3f}"
    )
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == [
        "known images, 200",
        "unknown images, 60",
        "threshold -1.60",
    ]


def test_what_lies_beyond_is_in_the_outer_bars():
    """Also an image that could not be compared with anything, whose familiarity is minus infinity."""
    display = UnknownsDisplay(np.array([-np.inf, -9.0, 0.1, 9.0]), np.array([-9.0]), threshold=-7).plot()
    values = display.bars_["known"].get_data().values
    assert (values[0], values[-1], values.sum()) == (0.5, 0.25, 1)
    assert list(display.threshold_.get_xdata()) == [-4, -4]


def test_one_kind_alone_is_drawn():
    """Without unknown images there is no AUROC, and without a threshold no line."""
    display = UnknownsDisplay.from_evaluation(evaluation(unknowns=0))
    assert set(display.bars_) == {"known"}
    assert display.ax_.get_legend().get_title().get_text() in ("", "None")
    assert display.threshold_ is None
    assert set(UnknownsDisplay.from_evaluation(evaluation(known=0)).bars_) == {"unknown"}


def test_the_threshold_of_the_evaluation_is_drawn():
    """Unless another one is given."""
    results = replace(evaluation(), familiarity_threshold=-1.2)
    assert UnknownsDisplay.from_evaluation(results).threshold == -1.2
    assert UnknownsDisplay.from_evaluation(results, threshold=-1.6).threshold == -1.6


def test_a_threshold_is_finite():
    """Another statistic than familiarity has none that could be drawn."""
    with pytest.raises(ConfigError, match="threshold is -inf"):
        UnknownsDisplay.from_evaluation(evaluation(), threshold=-np.inf)
