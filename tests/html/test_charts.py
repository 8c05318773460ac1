"""Charts stay inside their frame, and draw what the numbers say."""

import re

import numpy as np
import pytest

from lmm_classifier.core.metrics import ReliabilityBin, risk_coverage
from lmm_classifier.html.charts import (
    calls_chart,
    familiarity_chart,
    reliability_chart,
    risk_coverage_chart,
)

RNG = np.random.default_rng(0)


def curves():
    calls = np.linspace(0, 1, 500)
    return dict.fromkeys(("gate", "threshold", "random", "oracle"), (calls, 0.8 + 0.1 * calls))


CHARTS = {
    "reliability": reliability_chart([ReliabilityBin(5, 0.2, 0.0), ReliabilityBin(5, 0.9, 1.0)]),
    "risk": risk_coverage_chart(*risk_coverage(RNG.random(400), RNG.random(400) < 0.8)),
    "familiarity": familiarity_chart(RNG.normal(0, 3, 100), np.full(7, -np.inf), -9.0),
    "calls": calls_chart(curves()),
    "nothing": risk_coverage_chart(np.empty(0), np.empty(0)),
    "no images": familiarity_chart(np.empty(0), np.empty(0), -2.0),
}


def test_a_table_says_what_a_chart_draws():
    """One row for each dot, some for a line, and one for each place of a bar."""
    assert CHARTS["reliability"].table.rows == [["0.200", "0.000", "5"], ["0.900", "1.000", "5"]]
    assert [row[0] for row in CHARTS["risk"].table.rows][::10] == ["0.003", "1.000"]
    bars = CHARTS["familiarity"]
    assert len(bars.table.rows) == len({bar.x for bar in bars.bars})
    assert sum(float(row[2]) for row in bars.table.rows) == 1


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_everything_is_inside_the_frame(chart):
    """Lines, dots, bars and texts are at finite coordinates inside the view box."""
    numbers = [float(number) for line in chart.lines for number in re.findall(r"-?[\d.]+", line.path)]
    points = [*zip(numbers[::2], numbers[1::2]), *chart.dots, *((text.x, text.y) for text in chart.texts)]
    points += [(bar.x + bar.width, bar.y + bar.height) for bar in chart.bars] + [(bar.x, bar.y) for bar in chart.bars]
    assert all(0 <= x <= chart.width and 0 <= y <= chart.height for x, y in points)


def test_the_threshold_is_drawn_where_familiarity_decides():
    """Without a familiarity threshold there is no line, and the caption does not mention one."""
    known, unknown = RNG.normal(0, 1, 50), RNG.normal(-3, 1, 50)
    assert len(familiarity_chart(known, unknown, -2.0).lines) == 1
    chart = familiarity_chart(known, unknown, None)
    assert chart.lines == []
    assert "dashed" not in chart.caption


def test_known_and_unknown_images_have_their_own_bars():
    """The CSS classes are those of the style sheet; the highest bar reaches the top."""
    chart = familiarity_chart(np.zeros(10), np.full(10, -3.0), -2.0)
    assert [bar.css_class for bar in chart.bars] == ["known", "unknown"]
    assert {bar.y for bar in chart.bars} == {22.0}


def test_long_curves_are_thinned():
    """A line has at most 200 points."""
    assert all(line.path.count("L") < 200 for line in CHARTS["calls"].lines)
