"""What all charts share: axes, colors, and what they are made of is checked.

Colors are of Okabe & Ito, "Color Universal Design" (2008), which color-blind people tell apart. Those are taken that
have a contrast of at least 3 to white and to black. Shapes and line styles differ too, so that gray is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lmm_classifier.calibration.calibration_report import CalibrationReport
from lmm_classifier.core.arrays import BoolArray, Float64Array
from lmm_classifier.core.errors import ConfigError, DatasetError
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.evaluation.results import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE = "#0072B2"
VERMILION = "#D55E00"
GRAY = "#808080"  # of lines to compare with
_EXTRA = "plot"

Kind = TypeVar("Kind")


def axes_for(ax: Axes | None, width: float = 4.8, height: float = 4.2) -> Axes:
    """Return the axes to draw into; without any, those of a new figure.

    Args:
        ax: axes of matplotlib, or None.
        width: of a new figure, in inches.
        height: of a new figure, in inches.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ConfigError: `ax` is something else.
    """
    import_optional("matplotlib", _EXTRA)
    if ax is None:
        figure = import_optional("matplotlib.pyplot", _EXTRA).figure(figsize=(width, height), layout="constrained")
        created: Axes = figure.add_subplot()
        return created
    is_axes = isinstance(ax, import_optional("matplotlib.axes", _EXTRA).Axes)
    if not is_axes:
        raise ConfigError(f"ax is of type {type(ax).__name__}. Expected axes of matplotlib, or None for a new figure.")
    return ax


def require(value: object, kind: type[Kind], source: str) -> Kind:
    """Return a value of a kind; raise ConfigError, which says where one comes from, where it is of another."""
    if not isinstance(value, kind):
        raise ConfigError(f"Expected {kind.__name__}, which {source} gives, got {type(value).__name__}.")
    return value


def evaluated(evaluation: object) -> tuple[Float64Array, BoolArray]:
    """Return confidence (n,) and correctness (n,) of the known images of an evaluation."""
    checked = require(evaluation, Evaluation, "evaluate_folder")
    return _filled(checked.confidence, checked.correct, "The evaluation has no image of a known label")


def held_out(report: object) -> tuple[Float64Array, BoolArray]:
    """Return confidence (n,) and correctness (n,) of the held-out examples of a calibration."""
    results = require(report, CalibrationReport, "calibrate_index").calibration.held_out
    return _filled(results.confidence, results.correct, "The calibration held out no example")


def fraction_axis(ax: Axes, x: str | None = None, y: str | None = None) -> None:
    """Name axes that count from 0 to 1, and give them this range."""
    if x is not None:
        ax.set_xlabel(f"{x} (0 to 1)")
        ax.set_xlim(-0.02, 1.02)
    if y is not None:
        ax.set_ylabel(f"{y} (0 to 1)")
        ax.set_ylim(-0.02, 1.02)


def _filled(confidence: Float64Array, correct: BoolArray, problem: str) -> tuple[Float64Array, BoolArray]:
    if not len(confidence):
        raise DatasetError(f"{problem}, so there is nothing to draw.")
    return np.asarray(confidence, np.float64), np.asarray(correct, bool)
