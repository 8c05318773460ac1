"""The risk-coverage curve: how many answers are wrong where only the most confident images are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from lmm_classifier.calibration.calibration_report import CalibrationReport
from lmm_classifier.core.arrays import BoolArray, Float64Array
from lmm_classifier.core.metrics import area_under_risk_coverage, risk_coverage
from lmm_classifier.evaluation.results import Evaluation
from lmm_classifier.plots.drawing import BLUE, GRAY, axes_for, evaluated, fraction_axis, held_out
from lmm_classifier.plots.predicted import Predicted, probabilities_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


class RiskCoverageDisplay:
    """The fraction of errors among the answers, over the fraction of images answered, the most confident first.

    The dashed line is the fraction of errors where every image is answered: a confidence that says nothing stays on
    it. Sources: El-Yaniv & Wiener, "On the Foundations of Noise-free Selective Classification", JMLR 11 (2010); the
    area: Geifman, Uziel & El-Yaniv, arXiv 1805.08206.

    Args:
        coverage: fraction of images answered, (n,) ascending, 0 to 1.
        risk: fraction of errors among these, (n,), 0 to 1.
        area: mean risk over all coverages, 0 to 1.

    Attributes:
        ax_: the axes, after `plot`.
        figure_: the figure of the axes, after `plot`.
        line_: the curve, after `plot`.

    Example:
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, evaluate_folder
        >>> from lmm_classifier.plots import RiskCoverageDisplay
        >>> evaluation = evaluate_folder("test_images", HybridClassifier(PipelineConfig.offline()))
        >>> display = RiskCoverageDisplay.from_evaluation(evaluation)
        >>> display.ax_.get_xlabel()
        'fraction answered (0 to 1)'
    """

    ax_: Axes
    figure_: Figure | SubFigure
    line_: Any

    def __init__(self, coverage: Float64Array, risk: Float64Array, area: float) -> None:
        self.coverage: Float64Array = coverage
        self.risk: Float64Array = risk
        self.area: float = area

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation, ax: Axes | None = None) -> Self:
        """Draw the known images of an evaluation.

        Raises:
            DatasetError: the evaluation has no known image.
            ConfigError: an argument is of another type.
            MissingExtraError: matplotlib is not installed.
        """
        return cls._of(*evaluated(evaluation)).plot(ax)

    @classmethod
    def from_calibration(cls, report: CalibrationReport, ax: Axes | None = None) -> Self:
        """Draw the held-out examples of a calibration; the errors are those of `from_evaluation`."""
        return cls._of(*held_out(report)).plot(ax)

    @classmethod
    def from_predictions(cls, y: Any, probabilities: Any, classes: Any, ax: Axes | None = None) -> Self:
        """Draw the predictions of any classifier, as scikit-learn has them.

        Args:
            y: true classes (n,). Rows of none of `classes` are left out.
            probabilities: (n, C), 0 to 1.
            classes: C different classes, in the order of the columns.
            ax: axes to draw into; None makes a figure.

        Raises:
            DatasetError: there is no row of one of the classes.
            ConfigError: an argument is of another type, shape or value.
            MissingExtraError: matplotlib is not installed.
        """
        return cls._of(*Predicted.of(y, probabilities, classes).known()).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,  # noqa: N803 - the name of scikit-learn
        y: Any,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the predictions of a fitted classifier with `predict_proba`; see `from_predictions`."""
        return cls.from_predictions(y, *probabilities_of(estimator, X), ax)

    @classmethod
    def _of(cls, confidence: Float64Array, correct: BoolArray) -> Self:
        return cls(*risk_coverage(confidence, correct), area_under_risk_coverage(confidence, correct))

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw into the axes, or into those of a new figure, and return the display."""
        ax = axes_for(ax)
        ax.axhline(self.risk[-1], color=GRAY, linestyle="--", linewidth=1, label="all answered")
        label = f"most confident first, area {self.area:.3f}"
        (self.line_,) = ax.plot(self.coverage, self.risk, color=BLUE, linewidth=1.5, label=label)
        fraction_axis(ax, "fraction answered")
        ax.set_ylabel("fraction wrong among answers")
        ax.set_ylim(0, max(float(self.risk.max()) * 1.25, 0.01))
        ax.legend(loc="upper left", frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
