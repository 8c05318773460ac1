"""The cost ladder: what each order of asking encoders gives over what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from lmm_classifier.calibration.calibration_report import CalibrationReport
from lmm_classifier.calibration.fusion.ladders import Ladder
from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.errors import CalibrationError, ConfigError
from lmm_classifier.plots.drawing import BLUE, GRAY, axes_for, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Measure = Literal["accuracy", "coverage"]


class CostLadderDisplay:
    """Accuracy or coverage of each ladder of encoders over its time for an image.

    A ladder asks encoders all at once (`a + b`) or one after the other (`a -> b`), the later ones only where those
    before are unsure. The line joins the ladders that no cheaper one equals; these are numbered and named. Ladders of
    models by cost: Chen, Zaharia & Zou, "FrugalGPT", arXiv 2305.05176.

    Args:
        ladders: measured on held-out examples, each with its time.
        measure: what to draw, `accuracy`, or `coverage` at the ladders' target precision.

    Attributes:
        ax_: the axes, after `plot`.
        figure_: the figure of the axes, after `plot`.
        points_: the dots of all ladders, in their order, after `plot`.
        line_: the line through those that no cheaper one equals, after `plot`.

    Example:
        >>> from lmm_classifier.calibration.fusion.ladders import Ladder
        >>> from lmm_classifier.plots import CostLadderDisplay
        >>> small = Ladder(("small",), False, 0.81, 0.5, 0.95, (1.0,), 4.0)
        >>> both = Ladder(("small", "large"), True, 0.9, 0.8, 0.95, (1.0, 0.3), 16.0)
        >>> CostLadderDisplay([small, both]).plot().ax_.get_xlabel()
        'time for an image (ms)'
    """

    ax_: Axes
    figure_: Figure | SubFigure
    points_: Any
    line_: Any

    def __init__(self, ladders: Sequence[Ladder], measure: Measure = "accuracy") -> None:
        if measure not in get_args(Measure):
            raise ConfigError(f"measure is {measure!r}. Expected one of {', '.join(get_args(Measure))}.")
        if not ladders:
            raise CalibrationError(
                "There is no ladder to draw. A calibration of an index with several encoders measures them."
            )
        untimed = [ladder.name for ladder in ladders if ladder.milliseconds is None]
        if untimed:
            raise CalibrationError(
                f"The time of {untimed[0]} was not measured. Build the index again, so that every encoder is timed."
            )
        self.ladders: tuple[Ladder, ...] = tuple(ladders)
        self.measure: Measure = measure

    @classmethod
    def from_calibration(cls, report: CalibrationReport, ax: Axes | None = None, measure: Measure = "accuracy") -> Self:
        """Draw the ladders of a calibration.

        Raises:
            CalibrationError: the index has one encoder only, or the time of an encoder was not measured.
            ConfigError: an argument is of another type or value.
            MissingExtraError: matplotlib is not installed.
        """
        checked = require(report, CalibrationReport, "calibrate_index")
        return cls(checked.calibration.ladders, measure).plot(ax)

    @property
    def milliseconds(self) -> Float64Array:
        """Return the time of each ladder for an image, (n,)."""
        return np.array([ladder.milliseconds for ladder in self.ladders], np.float64)

    @property
    def values(self) -> Float64Array:
        """Return the accuracy or the coverage of each ladder, (n,), 0 to 1."""
        return np.array([getattr(ladder, self.measure) for ladder in self.ladders], np.float64)

    @property
    def frontier(self) -> list[int]:
        """Return the places of the ladders that no cheaper one equals, the cheapest first."""
        times, values, best = self.milliseconds, self.values, -np.inf
        places = []
        for place in np.lexsort((-values, times)).tolist():
            if values[place] > best:
                places.append(place)
                best = values[place]
        return places

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw into the axes, or into those of a new figure, and return the display."""
        ax = axes_for(ax, width=6.0)
        times, values, frontier = self.milliseconds, self.values, self.frontier
        self.points_ = ax.scatter(times, values, s=18, color=GRAY, label="other ladders")
        (self.line_,) = ax.plot(
            times[frontier], values[frontier], color=BLUE, marker="o", markersize=5, linewidth=1.5,
            drawstyle="steps-post", label="no cheaper one is as good",
        )  # fmt: skip
        for number, place in enumerate(frontier, 1):
            name = self.ladders[place].name.replace("$", r"\$")  # or matplotlib would read a formula
            side, offset = ("right", (-5, 3)) if number % 2 else ("left", (5, -11))  # neighbors may be close
            place_of_point = (times[place], values[place])
            ax.annotate(str(number), place_of_point, xytext=offset, textcoords="offset points", ha=side)
            ax.plot([], [], linestyle="", label=f"{number}: {name}")
        ax.set_xlabel("time for an image (ms)")
        target = f" at {100 * self.ladders[0].target:g}% precision" if self.measure == "coverage" else ""
        ax.set_ylabel(f"{self.measure}{target} (0 to 1)")
        ax.margins(x=0.08, y=0.12)
        ax.set_xlim(left=-0.06 * float(times.max()))  # room for the first number
        ax.legend(loc="lower right", frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
