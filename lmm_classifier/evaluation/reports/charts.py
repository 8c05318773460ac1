"""Charts as inline SVG: their colours come from the page, so that they follow light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.metrics import ReliabilityBin

Doubles = NDArray[np.float64]

_WIDTH, _HEIGHT = 320, 240
_LEFT, _BOTTOM, _TOP, _RIGHT = 36, 30, 8, 8  # room for the numbers


def reliability_chart(bins: Sequence[ReliabilityBin]) -> str:
    """Accuracy over confidence, one dot per bin; on the dashed line confidence means what it says."""
    points = [(one.confidence, one.accuracy) for one in bins]
    dots = "".join(f'<circle class="dot" cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="3"/>' for x, y in points)
    ideal = f'<path class="ideal" d="{_path([(0, 0), (1, 1)])}"/>'
    return _figure(
        _frame("confidence", "right") + ideal + f'<path class="line" d="{_path(points)}"/>' + dots,
        "Confidence against the share that is right, in equally filled bins; on the dashed line they agree.",
    )


def risk_coverage_chart(coverage: Doubles, risk: Doubles) -> str:
    """Share of errors among the surest answers, over how many are answered."""
    top = max(float(risk.max(initial=0)), 0.01)
    some = np.unique(np.linspace(0, len(risk) - 1, min(200, len(risk))).astype(int))
    points = [(float(coverage[one]), float(risk[one]) / top) for one in some]
    return _figure(
        _frame("answered", "wrong", top) + f'<path class="line" d="{_path(points)}"/>',
        "Errors among the answers, when only the surest are given.",
    )


def familiarity_chart(known: Doubles, strangers: Doubles, threshold: float) -> str:
    """Histograms of the familiarity of known pictures and of strangers, and where `unknown` begins."""
    edges = np.linspace(-4, 4, 33)
    both = [np.histogram(np.clip(values, -4, 4), edges)[0] / max(len(values), 1) for values in (known, strangers)]
    top = max(float(max(part.max(initial=0) for part in both)), 1e-9)
    bars = "".join(
        f'<rect class="{kind}" x="{_x((left + 4) / 8):.1f}" y="{_y(share / top):.1f}" '
        f'width="{_x(1 / 32) - _x(0) - 0.5:.1f}" height="{_y(0) - _y(share / top):.1f}"/>'
        for kind, shares in zip(("known", "stranger"), both)
        for left, share in zip(edges, shares)
        if share > 0
    )
    cut = (min(max(threshold, -4), 4) + 4) / 8
    line = f'<path class="ideal" d="{_path([(cut, 0), (cut, 1)])}"/>'
    return _figure(
        _frame("familiarity", "share", top, (-4, 4)) + bars + line,
        "How familiar known pictures (green) and strangers (red) look; left of the dashed line they are unknown.",
    )


def calls_chart(lines: Mapping[str, tuple[Doubles, Doubles]]) -> str:
    """Accuracy over calls per picture; `lines` by kind (gate, threshold, random, oracle): calls and accuracy, 0..1."""
    low = min(float(accuracy.min()) for _, accuracy in lines.values())
    high = max(float(accuracy.max()) for _, accuracy in lines.values())
    span = max(high - low, 1e-6)
    drawn = ""
    for kind, (calls, accuracy) in lines.items():
        some = np.unique(np.linspace(0, len(calls) - 1, min(200, len(calls))).astype(int))
        points = [(min(float(calls[one]), 1.0), (float(accuracy[one]) - low) / span) for one in some]
        drawn += f'<path class="line {kind}" d="{_path(points)}"/>'
    return _figure(
        _frame("asked", "right", high, bottom=low) + drawn,
        "Accuracy over the share of pictures asked about: by expected gain (solid), by a threshold on the confidence "
        "(dashes), anywhere (dots), by who knows whom to rescue (thin).",
    )


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{'L' if number else 'M'}{_x(x):.1f} {_y(y):.1f}" for number, (x, y) in enumerate(points))


def _frame(across: str, up: str, top: float = 1.0, ends: tuple[float, float] = (0, 1), bottom: float = 0.0) -> str:
    low, high = ends
    return (
        f'<path class="axis" d="{_path([(0, 1), (0, 0), (1, 0)])}"/>'
        f'<text x="{_x(0):.0f}" y="{_y(0) + 13:.0f}">{low:g}</text>'
        f'<text x="{_x(1):.0f}" y="{_y(0) + 13:.0f}" text-anchor="end">{high:g}</text>'
        f'<text x="{_x(0.5):.0f}" y="{_y(0) + 24:.0f}" text-anchor="middle">{across}</text>'
        f'<text x="{_x(0) - 4:.0f}" y="{_y(0):.0f}" text-anchor="end">{bottom:.2g}</text>'
        f'<text x="{_x(0) - 4:.0f}" y="{_y(1) + 8:.0f}" text-anchor="end">{top:.2g}</text>'
        f'<text x="{_x(0) - 4:.0f}" y="{_y(0.5):.0f}" text-anchor="end">{up}</text>'
    )


def _figure(drawn: str, caption: str) -> str:
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{caption}">{drawn}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
