"""Charts as lines, bars and dots; `templates/charts.html` draws them as SVG whose colors follow light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lmm_classifier.core.arrays import Float64Array
from lmm_classifier.core.metrics import ReliabilityBin
from lmm_classifier.html.tables import Table

_WIDTH, _HEIGHT = 320, 240
_LEFT, _BOTTOM, _TOP, _RIGHT = 36, 30, 22, 8  # room for numbers and names of the axes
_MAX_POINTS = 200  # of a line
_ROWS = 11  # of the table of a line


@dataclass(frozen=True, slots=True)
class AxisText:
    """A number or a name at an axis; `anchor` says which end of the text is at (x, y)."""

    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line as the path data of SVG."""

    css_class: str
    path: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram."""

    css_class: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart in the coordinates of SVG; `dots` are (x, y), and `table` says the same in numbers."""

    caption: str
    axes: str
    texts: Sequence[AxisText]
    lines: Sequence[Line]
    bars: Sequence[Bar] = ()
    dots: Sequence[tuple[float, float]] = ()
    table: Table | None = None
    width: int = _WIDTH
    height: int = _HEIGHT


def reliability_chart(bins: Sequence[ReliabilityBin]) -> Chart:
    """Draw accuracy over confidence, one dot per bin."""
    points = [(part.confidence, part.accuracy) for part in bins]
    return Chart(
        "Accuracy over confidence, in equally filled bins. On the dashed line both are equal: the confidence is "
        "calibrated.",
        _AXES,
        _axis_texts("confidence", "accuracy"),
        [Line("ideal", _path([(0, 0), (1, 1)])), Line("line", _path(points))],
        dots=[(_x(x), _y(y)) for x, y in points],
        table=Table(
            ["confidence", "accuracy", "images"],
            [[f"{part.confidence:.3f}", f"{part.accuracy:.3f}", str(part.count)] for part in bins],
        ),
    )


def risk_coverage_chart(coverage: Float64Array, risk: Float64Array) -> Chart:
    """Draw the fraction of errors among the most confident answers over the fraction of images answered."""
    top = max(float(risk.max(initial=0)), 0.01)
    points = [(float(coverage[index]), float(risk[index]) / top) for index in _sample(len(risk))]
    return Chart(
        "Fraction of errors among the answers when only the most confident images are answered.",
        _AXES,
        _axis_texts("fraction answered", "fraction wrong", top),
        [Line("line", _path(points))],
        table=Table(
            ["fraction answered", "fraction wrong"],
            [[f"{coverage[index]:.3f}", f"{risk[index]:.4f}"] for index in _sample(len(risk), _ROWS)],
        ),
    )


def familiarity_chart(known: Float64Array, unknowns: Float64Array, threshold: float | None) -> Chart:
    """Draw histograms of the familiarity of known and of unknown images.

    Args:
        known: familiarity of known images, (n,).
        unknowns: familiarity of unknown images, (m,).
        threshold: familiarity below which an image is unknown; None where another number decides.
    """
    edges = np.linspace(-4, 4, 33)
    histograms = {
        css_class: np.histogram(np.clip(values, -4, 4), edges)[0] / max(len(values), 1)
        for css_class, values in (("known", known), ("unknown", unknowns))
    }
    top = max(*(float(fractions.max(initial=0)) for fractions in histograms.values()), 1e-9)
    bars = [
        Bar(
            css_class,
            _x((left + 4) / 8),
            _y(fraction / top),
            _x(1 / 32) - _x(0) - 0.5,
            _y(0) - _y(fraction / top),
        )
        for css_class, fractions in histograms.items()
        for left, fraction in zip(edges, fractions)
        if fraction > 0
    ]
    caption, lines = "Familiarity of known images (green) and unknown images (red).", []
    if not len(unknowns):
        del histograms["unknown"]
        caption = "Familiarity of known images."
    if threshold is not None:
        caption += " Images left of the dashed line are called unknown."
        position = (min(max(threshold, -4), 4) + 4) / 8
        lines = [Line("ideal", _path([(position, 0), (position, 1)]))]
    names = _axis_texts("familiarity", "fraction of images", top, (-4, 4))
    return Chart(caption, _AXES, names, lines, bars, table=_histogram_table(edges, histograms))


def _histogram_table(edges: Float64Array, histograms: Mapping[str, Float64Array]) -> Table:
    """Return a row for each bar; the outer ones hold all beyond."""
    rows = [
        [f"{left:g} to {right:g}", *(f"{fractions[place]:.3f}" for fractions in histograms.values())]
        for place, (left, right) in enumerate(pairwise(edges))
        if any(fractions[place] > 0 for fractions in histograms.values())
    ]
    return Table(["familiarity", *(f"{name} images" for name in histograms)], rows)


def unknowns_chart(accepted: Mapping[float, float], auroc: float) -> Chart:
    """Draw the fraction of unknown images that are accepted over that of known images.

    Args:
        accepted: maps the fraction of known images that are accepted, 0 to 1, to that of unknown images.
        auroc: probability that a known image is more familiar than an unknown one.
    """
    points = sorted(accepted.items())
    return Chart(
        "Fraction of unknown images that are accepted with a fraction of the known ones, estimated by labels that play "
        f"the unknown ones. On the dashed line familiarity says nothing. The area (AUROC) is {100 * auroc:.0f}%.",
        _AXES,
        _axis_texts("known images accepted", "unknown images accepted"),
        [Line("ideal", _path([(0, 0), (1, 1)])), Line("line", _path(points))],
        dots=[(_x(x), _y(y)) for x, y in points],
        table=Table(["known images accepted", "unknown images accepted"], [[f"{x:g}", f"{y:.3f}"] for x, y in points]),
    )


def ladders_chart(points: Sequence[tuple[float, float]], name: str, ends: tuple[float, float]) -> Chart:
    """Draw what each ladder of encoders gives over what it costs, one numbered dot each.

    Args:
        points: milliseconds for an image, and the fraction `name`, of each ladder.
        name: of the fraction.
        ends: the least and the greatest fraction of the axis.
    """
    longest = max((milliseconds for milliseconds, _ in points), default=1.0) or 1.0
    span = max(ends[1] - ends[0], 1e-6)
    places = [(_x(milliseconds / longest), _y((value - ends[0]) / span)) for milliseconds, value in points]
    numbers = [AxisText(x - 5, y - 5, "end", str(number)) for number, (x, y) in enumerate(places, 1)]
    return Chart(
        f"{name.capitalize()} over milliseconds for an image, of each ladder of the table by its number.",
        _AXES,
        [*_axis_texts("milliseconds", name, ends[1], (0, round(longest, 1)), bottom=ends[0]), *numbers],
        [],
        dots=places,
    )


def calls_chart(
    curves: Mapping[str, tuple[Float64Array, Float64Array]], ends: tuple[float, float] | None = None
) -> Chart:
    """Draw accuracy over calls per image.

    Args:
        curves: calls and accuracy, both 0 to 1, of `gate`, `threshold`, `random` and `oracle`.
        ends: the least and the greatest accuracy of the axis; None: those of the curves.
    """
    low, high = ends or accuracy_ends([accuracy for _, accuracy in curves.values()])
    span = max(high - low, 1e-6)
    lines = []
    for css_class, (calls, accuracy) in curves.items():
        points = [
            (min(float(calls[index]), 1.0), (float(accuracy[index]) - low) / span) for index in _sample(len(calls))
        ]
        lines.append(Line(f"line {css_class}", _path(points)))
    return Chart(
        "Accuracy over the fraction of images asked about, in the order of expected gain (solid), of the confidence "
        "of retrieval (dashes), at random (dots), and by an oracle that knows which answers help (thin).",
        _AXES,
        _axis_texts("fraction asked", "accuracy", high, bottom=low),
        lines,
    )


def accuracy_ends(values: Sequence[Float64Array]) -> tuple[float, float]:
    """Return the least and the greatest of some values."""
    return min(float(part.min()) for part in values), max(float(part.max()) for part in values)


def _sample(count: int, most: int = _MAX_POINTS) -> list[int]:
    """Return at most `most` indices, evenly spread from the first to the last."""
    return [int(index) for index in np.unique(np.linspace(0, count - 1, min(most, count)).astype(int))]


def _x(fraction: float) -> float:
    return _LEFT + fraction * (_WIDTH - _LEFT - _RIGHT)


def _y(fraction: float) -> float:
    return _HEIGHT - _BOTTOM - fraction * (_HEIGHT - _BOTTOM - _TOP)


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Return SVG path data through points, 0 to 1 in both directions."""
    return " ".join(f"{'L' if number else 'M'}{_x(x):.1f} {_y(y):.1f}" for number, (x, y) in enumerate(points))


_AXES = _path([(0, 1), (0, 0), (1, 0)])


def _axis_texts(
    across: str, up: str, top: float = 1.0, ends: tuple[float, float] = (0, 1), bottom: float = 0.0
) -> list[AxisText]:
    """Return the names of the axes, and the numbers at their ends."""
    low, high = ends
    return [
        AxisText(_x(0), _y(0) + 13, "start", f"{low:g}"),
        AxisText(_x(1), _y(0) + 13, "end", f"{high:g}"),
        AxisText(_x(0.5), _y(0) + 24, "middle", across),
        AxisText(_x(0) - 4, _y(0), "end", f"{bottom:.2g}"),
        AxisText(_x(0) - 4, _y(1) + 4, "end", f"{top:.2g}"),
        AxisText(_x(0) - 4, _y(1) - 10, "start", up),
    ]
