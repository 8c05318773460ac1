"""The confusion matrix: which labels were given to images of which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.errors import ConfigError, DatasetError
from lmm_classifier.evaluation.results import Evaluation
from lmm_classifier.html.confusion_matrix import UNKNOWN, Pair
from lmm_classifier.plots.drawing import axes_for, require
from lmm_classifier.plots.predicted import Predicted, probabilities_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_MOST_LABELS = 30  # drawn: with more, names overlap
_WITH_NUMBERS = 24  # labels up to which each cell has its number
_LETTERS = 20  # of a name that are drawn


class ConfusionDisplay:
    """A heat map with true labels as rows and given labels as columns; colors are shares of the true label.

    The colors are cividis, which is even to color-blind eyes: Nuñez, Anderton & Renslow, arXiv 1712.01662. The row of
    unknown images and the column of images that were called unknown come last.

    Args:
        counts: images of each true label (row) and given label (column), (C, C).
        labels: C names.
        left_out: labels that are not drawn.

    Attributes:
        ax_: the axes, after `plot`.
        figure_: the figure of the axes, after `plot`.
        image_: the heat map, whose array (C, C) has the shares, after `plot`; empty cells are masked.
        texts_: the numbers of the cells that are not empty by row and column, after `plot`.

    Example:
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, evaluate_folder
        >>> from lmm_classifier.plots import ConfusionDisplay
        >>> evaluation = evaluate_folder("test_images", HybridClassifier(PipelineConfig.offline()))
        >>> display = ConfusionDisplay.from_evaluation(evaluation)
        >>> int(display.counts.sum()) == len(evaluation.known) + len(evaluation.unknowns)
        True
    """

    ax_: Axes
    figure_: Figure | SubFigure
    image_: Any
    texts_: dict[tuple[int, int], Any]

    def __init__(self, counts: IntArray, labels: Sequence[str], left_out: int = 0) -> None:
        if counts.shape != (len(labels), len(labels)):
            raise ConfigError(f"counts has the shape {counts.shape}. Expected ({len(labels)}, {len(labels)}).")
        self.counts: IntArray = counts
        self.labels: tuple[str, ...] = tuple(labels)
        self.left_out: int = left_out

    @classmethod
    def from_evaluation(cls, evaluation: Evaluation, ax: Axes | None = None, max_labels: int = _MOST_LABELS) -> Self:
        """Draw the known and the unknown images of an evaluation.

        Args:
            evaluation: the results.
            ax: axes to draw into; None makes a figure.
            max_labels: draw at most as many labels, those with the most errors; at least 1.

        Raises:
            DatasetError: the evaluation has neither known nor unknown images.
            ConfigError: an argument is of another type, or `max_labels` is less than 1.
            MissingExtraError: matplotlib is not installed.
        """
        counts = require(evaluation, Evaluation, "evaluate_folder").confusion_counts()
        if not counts:
            raise DatasetError("The evaluation has no image that can be read, so there is nothing to draw.")
        return cls._of(counts, max_labels).plot(ax)

    @classmethod
    def from_predictions(
        cls, y: Any, probabilities: Any, classes: Any, ax: Axes | None = None, max_labels: int = _MOST_LABELS
    ) -> Self:
        """Draw the predictions of any classifier, as scikit-learn has them.

        Args:
            y: true classes (n,). Rows of none of `classes` count as unknown.
            probabilities: (n, C), 0 to 1.
            classes: C different classes, in the order of the columns.
            ax: axes to draw into; None makes a figure.
            max_labels: as in `from_evaluation`.

        Raises:
            DatasetError: there is no row of one of the classes.
            ConfigError: an argument is of another type, shape or value.
            MissingExtraError: matplotlib is not installed.
        """
        return cls._of(_pairs(Predicted.of(y, probabilities, classes)), max_labels).plot(ax)

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,  # noqa: N803 - the name of scikit-learn
        y: Any,
        ax: Axes | None = None,
        max_labels: int = _MOST_LABELS,
    ) -> Self:
        """Draw the predictions of a fitted classifier with `predict_proba`; see `from_predictions`."""
        return cls.from_predictions(y, *probabilities_of(estimator, X), ax, max_labels)

    @classmethod
    def _of(cls, counts: Counter[Pair], max_labels: int) -> Self:
        if max_labels < 1:
            raise ConfigError(f"max_labels is {max_labels}. Expected at least 1.")
        order, left_out = _chosen(counts, max_labels)
        places = {label: place for place, label in enumerate(order)}
        matrix = np.zeros((len(order), len(order)), np.int64)
        for (truth, given), count in counts.items():
            if truth in places and given in places:
                matrix[places[truth], places[given]] = count
        return cls(matrix, [UNKNOWN if label is None else label for label in order], left_out)

    @property
    def shares(self) -> Float64Array:
        """Return the counts as shares of their row, (C, C), 0 to 1; 0 where a row is empty."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return np.asarray(self.counts / np.maximum(totals, 1), np.float64)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw into the axes, or into those of a new figure, and return the display."""
        count = len(self.labels)
        side = min(3.0 + 0.32 * count, 12.0)
        ax = axes_for(ax, side + 0.9, side)
        shares = self.shares
        empty = np.ma.masked_equal(shares, 0)  # has the color of the background, so that rare mistakes stand out
        self.image_ = ax.imshow(empty, cmap="cividis", vmin=0, vmax=1)
        self.texts_ = {}
        if count <= _WITH_NUMBERS:
            for row, column in np.argwhere(self.counts > 0).tolist():
                color = "black" if shares[row, column] > 0.5 else "white"  # cividis goes from dark to light
                text = str(self.counts[row, column])
                self.texts_[row, column] = ax.text(column, row, text, color=color, ha="center", va="center")
        names = [_short(label) for label in self.labels]
        ax.set_xticks(range(count), names, rotation=90)
        ax.set_yticks(range(count), names)
        ax.set_xlabel("given label")
        ax.set_ylabel("true label")
        if self.left_out:
            total = count + self.left_out
            ax.set_title(f"the {count} of {total} labels with the most errors", fontsize="medium")
        ax.figure.colorbar(self.image_, ax=ax, shrink=0.8, label="share of the true label (0 to 1)")
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _pairs(predicted: Predicted) -> Counter[Pair]:
    """Count the rows of each pair of a true and a given class; the true one is None where it is unknown."""
    names: list[str | None] = [str(name) for name in predicted.classes]
    if len(set(names)) < len(names):
        raise ConfigError("Two classes have the same text. Give classes whose texts differ.")
    names.append(None)  # of place -1
    return Counter((names[truth], names[best]) for truth, best in zip(predicted.truth, predicted.best))


def _chosen(counts: Counter[Pair], most: int) -> tuple[list[str | None], int]:
    """Return the labels to draw by name, None (unknown) last, and how many are left out."""
    errors = Counter[str | None]()
    for (truth, given), count in counts.items():
        for label in (truth, given):
            errors[label] += count if truth != given else 0
    has_unknown = None in errors
    labels = sorted(label for label in errors if label is not None)
    kept = sorted(sorted(labels, key=lambda label: -errors[label])[: most - has_unknown if most > 1 else most])
    return [*kept, *([None] if has_unknown and (most > 1 or not kept) else [])], len(labels) - len(kept)


def _short(label: str) -> str:
    shown = label if len(label) <= _LETTERS else f"{label[: _LETTERS - 1]}…"
    return shown.replace("$", r"\$")  # or matplotlib would read a formula
