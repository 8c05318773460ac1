"""Familiarity of known and of unknown images: how well novelty is recognized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.errors import ConfigError, DatasetError
from lmm_classifier.core.metrics import auroc
from lmm_classifier.evaluation.results import Evaluation
from lmm_classifier.plots.drawing import BLUE, GRAY, VERMILION, axes_for, require
from lmm_classifier.plots.predicted import is_class, result_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_MOST = 4.0  # robust standard deviations; what is beyond is drawn in the outer bars
_BARS = 32


class UnknownsDisplay:
    """Histograms of the familiarity of known and of unknown images.

    The less they overlap, the better unknown images are recognized. Images left of the threshold are called unknown.
    Familiarity is the negative of a novelty score; source of the term: Dietterich & Guyer, "The Familiarity
    Hypothesis", arXiv 2203.02486. The outer bars hold all that is beyond.

    Args:
        known: familiarity of n known images in robust standard deviations, (n,).
        unknown: familiarity of m unknown images, (m,).
        threshold: familiarity below which an image is unknown; None draws none.

    Attributes:
        ax_: the axes, after `plot`.
        figure_: the figure of the axes, after `plot`.
        bars_: maps `known` and `unknown` to the outline of the histogram, after `plot`.
        threshold_: the line of the threshold or None, after `plot`.

    Example:
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, evaluate_folder
        >>> from lmm_classifier.plots import UnknownsDisplay
        >>> classifier = HybridClassifier(PipelineConfig.offline())
        >>> display = UnknownsDisplay.from_evaluation(evaluate_folder("test_images", classifier))
        >>> display.threshold == classifier.thresholds.novelty.value
        True
        >>> display.ax_.get_xlabel()
        'familiarity (robust standard deviations)'
    """

    ax_: Axes
    figure_: Figure | SubFigure
    bars_: dict[str, Any]
    threshold_: Any

    def __init__(self, known: Float64Array, unknown: Float64Array, threshold: float | None = None) -> None:
        if threshold is not None and not np.isfinite(threshold):
            raise ConfigError(f"threshold is {threshold}. Expected a finite familiarity, or None.")
        self.known: Float64Array = known
        self.unknown: Float64Array = unknown
        self.threshold: float | None = threshold

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation, ax: Axes | None = None, threshold: float | None = None) -> Self:
        """Draw the known and the unknown images of an evaluation.

        Args:
            evaluation: the results.
            ax: axes to draw into; None makes a figure.
            threshold: another one than that of the evaluation, such as for another fraction of known images.

        Raises:
            DatasetError: the evaluation has neither known nor unknown images.
            ConfigError: an argument is of another type, or the threshold is not finite.
            MissingExtraError: matplotlib is not installed.
        """
        results = require(evaluation, Evaluation, "evaluate_folder")
        if not len(results.familiarity) + len(results.unknown_familiarity):
            raise DatasetError("The evaluation has no image that can be read, so there is nothing to draw.")
        drawn = results.familiarity_threshold if threshold is None else threshold
        return cls(results.familiarity, results.unknown_familiarity, drawn).plot(ax)

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, ax: Axes | None = None) -> Self:  # noqa: N803 - as scikit-learn
        """Draw the familiarity of rows as a fitted `TrainFreeClassifier` scores them, with its threshold.

        Args:
            estimator: has `score_samples`, `classes_` and `familiarity_threshold_`.
            X: rows (n, d).
            y: true classes (n,). Rows of none of `classes_` are unknown.
            ax: axes to draw into; None makes a figure.

        Raises:
            DatasetError: there is no row.
            ConfigError: an argument is of another type or shape.
            MissingExtraError: matplotlib is not installed.
        """
        score, classes, threshold = (
            result_of(estimator, name) for name in ("score_samples", "classes_", "familiarity_threshold_")
        )
        familiarity, is_known = np.asarray(score(X), np.float64), is_class(y, classes)
        if familiarity.shape != is_known.shape:
            raise ConfigError(f"y has {len(is_known)} values, X has {len(familiarity)} rows. Expected one for each.")
        if not len(familiarity):
            raise DatasetError("There is no row, so there is nothing to draw.")
        return cls(familiarity[is_known], familiarity[~is_known], float(threshold)).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw into the axes, or into those of a new figure, and return the display."""
        ax = axes_for(ax)
        edges = np.linspace(-_MOST, _MOST, _BARS + 1)
        self.bars_ = {}
        kinds = (("known", self.known, BLUE, "-", 0.35), ("unknown", self.unknown, VERMILION, "--", 0.25))
        for name, values, color, style, opacity in kinds:
            if len(values):
                fractions = np.histogram(np.clip(values, -_MOST, _MOST), edges)[0] / len(values)
                label = f"{name} images, {len(values)}"
                ax.stairs(fractions, edges, fill=True, color=color, alpha=opacity)
                self.bars_[name] = ax.stairs(fractions, edges, color=color, linestyle=style, linewidth=1.5, label=label)
        self.threshold_ = None
        if self.threshold is not None:
            place = float(np.clip(self.threshold, -_MOST, _MOST))
            label = f"threshold {self.threshold:.2f}"
            self.threshold_ = ax.axvline(place, color=GRAY, linestyle=":", linewidth=1.5, label=label)
        ax.set_xlabel("familiarity (robust standard deviations)")
        ax.set_ylabel("fraction of images")
        ax.set_xlim(-_MOST - 0.1, _MOST + 0.1)
        ax.set_ylim(0, 1.4 * max(float(bars.get_data().values.max()) for bars in self.bars_.values()))
        area = f"AUROC {auroc(self.known, self.unknown):.3f}" if len(self.known) and len(self.unknown) else None
        ax.legend(loc="upper right", frameon=False, title=area, alignment="left")
        self.ax_, self.figure_ = ax, ax.figure
        return self
