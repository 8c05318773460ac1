"""All displays follow one idiom: axes in, axes out; each error says what was expected."""

import doctest
import shutil
import sys

import numpy as np
import pytest

from lmm_classifier import CalibrationRequest, build_index_from_directory, calibrate_index, plots
from lmm_classifier.core.errors import ConfigError, DatasetError, MissingExtraError
from lmm_classifier.plots import (
    ConfusionDisplay,
    CostLadderDisplay,
    ReliabilityDisplay,
    RiskCoverageDisplay,
    UnknownsDisplay,
    drawing,
)
from tests.helpers.datasets import draw_dataset, offline_config
from tests.plots.evaluations import empty, evaluation
from tests.plots.test_cost_ladder import LADDERS

OF_EVALUATIONS = [ReliabilityDisplay, RiskCoverageDisplay, ConfusionDisplay, UnknownsDisplay]
OF_CALIBRATIONS = [ReliabilityDisplay, RiskCoverageDisplay]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images and a calibrated index, as the examples of the docstrings expect them."""
    root = tmp_path_factory.mktemp("plots")
    draw_dataset(root / "images", count=6)
    draw_dataset(root / "test_images", count=2, seed=3)
    config = offline_config(root / "index")
    build_index_from_directory(root / "images", root / "index", config=config)
    calibrate_index(root / "index", config, CalibrationRequest())
    return root


@pytest.mark.parametrize("display", OF_EVALUATIONS)
def test_a_display_draws_into_given_axes_or_its_own(display):
    """`from_evaluation` and `plot` return the display, with the axes and their figure."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2)
    drawn = display.from_evaluation(evaluation(), axes[1])
    assert drawn.ax_ is axes[1]
    assert drawn.figure_ is figure
    assert not axes[0].has_data()
    again = drawn.plot()
    assert again is drawn
    assert drawn.ax_ not in axes
    assert drawn.figure_ is not figure
    assert drawn.ax_.get_xlabel()
    assert drawn.ax_.get_ylabel()
    drawn.figure_.canvas.draw()


@pytest.mark.parametrize("display", OF_EVALUATIONS)
def test_wrong_arguments_are_refused(display):
    """Another object, other axes, an evaluation without images."""
    with pytest.raises(ConfigError, match="Expected Evaluation, which evaluate_folder gives, got str"):
        display.from_evaluation("evaluation")
    with pytest.raises(ConfigError, match="ax is of type int. Expected axes of matplotlib"):
        display.from_evaluation(evaluation(), 3)
    with pytest.raises(DatasetError, match="nothing to draw"):
        display.from_evaluation(empty())


@pytest.mark.long
def test_a_calibration_is_drawn(folder):
    """Its held-out examples; ladders need several encoders, whose times were measured."""
    report = calibrate_index(folder / "index", offline_config(folder / "index"))
    predictions = report.predictions
    drawn = ReliabilityDisplay.from_calibration(report)
    assert sum(part.count for part in drawn.bins) == len(predictions.rows)
    curve = RiskCoverageDisplay.from_calibration(report)
    assert curve.risk[-1] == pytest.approx(1 - report.accuracy)
    for display in (ReliabilityDisplay, RiskCoverageDisplay, CostLadderDisplay):
        with pytest.raises(ConfigError, match="Expected CalibrationReport, which calibrate_index"):
            display.from_calibration(evaluation())
    assert repr(report) == (
        f"CalibrationReport({len(predictions.rows)} held-out examples, accuracy {100 * report.accuracy:.1f}%, "
        "no guarantee)"
    )
    with pytest.raises(Exception, match="There is no ladder to draw"):
        CostLadderDisplay.from_calibration(report)


def test_the_missing_library_is_named(monkeypatch):
    """With the command that installs it; importing the room needs no matplotlib."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for draw in (lambda: UnknownsDisplay.from_evaluation(evaluation()), CostLadderDisplay(LADDERS).plot):
        with pytest.raises(MissingExtraError, match=r"'matplotlib' is not installed: .*lmm-classifier\[plot"):
            draw()


def luminance(color):
    """Return the relative luminance of a color by WCAG 2.2."""
    values = np.array([int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("color", [drawing.BLUE, drawing.VERMILION, drawing.GRAY])
@pytest.mark.parametrize("background", ["#ffffff", "#111111"])
def test_colors_can_be_seen_on_light_and_on_dark(color, background):
    """A contrast of at least 3, which WCAG 2.2 asks of graphics."""
    high, low = sorted([luminance(color), luminance(background)], reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 3


@pytest.mark.long
@pytest.mark.parametrize("name", plots.__all__)
def test_each_display_has_an_example_that_runs(name, folder, tmp_path, monkeypatch):
    """In the folder that the examples of all public names run in."""
    shutil.copytree(folder, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    (test,) = [found for found in doctest.DocTestFinder().find(getattr(plots, name), name) if found.examples]
    output = []
    runner = doctest.DocTestRunner()
    runner.run(test, out=output.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(output)


def test_a_dark_style_is_kept():
    """Texts take the colors of the user's style; what is drawn has its own."""
    from matplotlib import pyplot

    with pyplot.style.context("dark_background"):
        display = ReliabilityDisplay.from_evaluation(evaluation())
        assert display.ax_.xaxis.label.get_color() == "white"
        assert display.line_.get_color() == drawing.BLUE
