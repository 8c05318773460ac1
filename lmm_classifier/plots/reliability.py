"""The reliability diagram: whether a confidence is the fraction of correct answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lmm_classifier.calibration.calibration_report import CalibrationReport
from lmm_classifier.core.arrays import BoolArray, Float64Array
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.metrics import BINS, ReliabilityBin, expected_calibration_error, reliability, wilson_interval
from lmm_classifier.evaluation.results import Evaluation
from lmm_classifier.plots.drawing import BLUE, GRAY, axes_for, evaluated, fraction_axis, held_out
from lmm_classifier.plots.predicted import Predicted, probabilities_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


class ReliabilityDisplay:
    """Accuracy over confidence, in equally filled bins, with 95% intervals.

    On the dashed line both are equal, so the confidence is calibrated. Below it the classifier is too sure. Source:
    Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599.

    Args:
        bins: of the results, the least confident first.
        error: expected calibration error, 0 to 1.

    Attributes:
        ax_: the axes, after `plot`.
        figure_: the figure of the axes, after `plot`.
        line_: the line through the bins, after `plot`.

    Example:
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, evaluate_folder
        >>> from lmm_classifier.plots import ReliabilityDisplay
        >>> evaluation = evaluate_folder("test_images", HybridClassifier(PipelineConfig.offline()))
        >>> display = ReliabilityDisplay.from_evaluation(evaluation)
        >>> display.ax_.get_xlabel()
        'confidence (0 to 1)'
    """

    ax_: Axes
    figure_: Figure | SubFigure
    line_: Any

    def __init__(self, bins: Sequence[ReliabilityBin], error: float) -> None:
        self.bins: tuple[ReliabilityBin, ...] = tuple(bins)
        self.error: float = error

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation, ax: Axes | None = None, bins: int = BINS) -> Self:
        """Draw the known images of an evaluation.

        Raises:
            DatasetError: the evaluation has no known image.
            ConfigError: an argument is of another type, or `bins` is less than 1.
            MissingExtraError: matplotlib is not installed.
        """
        return cls._of(*evaluated(evaluation), bins).plot(ax)

    @classmethod
    def from_calibration(cls, report: CalibrationReport, ax: Axes | None = None, bins: int = BINS) -> Self:
        """Draw the held-out examples of a calibration; the errors are those of `from_evaluation`."""
        return cls._of(*held_out(report), bins).plot(ax)

    @classmethod
    def from_predictions(
        cls, y: Any, probabilities: Any, classes: Any, ax: Axes | None = None, bins: int = BINS
    ) -> Self:
        """Draw the predictions of any classifier, as scikit-learn has them.

        Args:
            y: true classes (n,). Rows of none of `classes` are left out.
            probabilities: (n, C), 0 to 1.
            classes: C different classes, in the order of the columns.
            ax: axes to draw into; None makes a figure.
            bins: at least 1.

        Raises:
            DatasetError: there is no row of one of the classes.
            ConfigError: an argument is of another type, shape or value.
            MissingExtraError: matplotlib is not installed.
        """
        return cls._of(*Predicted.of(y, probabilities, classes).known(), bins).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,  # noqa: N803 - the name of scikit-learn
        y: Any,
        ax: Axes | None = None,
        bins: int = BINS,
    ) -> Self:
        """Draw the predictions of a fitted classifier with `predict_proba`; see `from_predictions`."""
        return cls.from_predictions(y, *probabilities_of(estimator, X), ax, bins)

    @classmethod
    def _of(cls, confidence: Float64Array, correct: BoolArray, bins: int) -> Self:
        if bins < 1:
            raise ConfigError(f"bins is {bins}. Expected at least 1.")
        return cls(reliability(confidence, correct, bins), expected_calibration_error(confidence, correct, bins))

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw into the axes, or into those of a new figure, and return the display."""
        ax = axes_for(ax)
        confidence = np.array([part.confidence for part in self.bins])
        accuracy = np.array([part.accuracy for part in self.bins])
        ends = [wilson_interval(round(part.accuracy * part.count), part.count) for part in self.bins]
        below = [max(value - low, 0.0) for value, (low, _) in zip(accuracy, ends, strict=True)]
        above = [max(high - value, 0.0) for value, (_, high) in zip(accuracy, ends, strict=True)]
        ax.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1, label="calibrated")
        drawn = ax.errorbar(
            confidence, accuracy, yerr=[below, above], color=BLUE, marker="o", markersize=4, linewidth=1.5,
            elinewidth=0.8, capsize=2, label=f"expected calibration error {self.error:.3f}",
        )  # fmt: skip
        self.line_ = drawn.lines[0]
        fraction_axis(ax, "confidence", "accuracy")
        ax.legend(loc="lower right", frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
