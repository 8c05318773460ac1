"""The heat map holds the counts of every pair of labels."""

import numpy as np
import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.plots import ConfusionDisplay
from tests.plots.evaluations import LABELS, evaluation


def test_what_is_drawn_are_the_counts():
    """Shares in the colors, counts as numbers; unknown images and images called unknown come last."""
    results = evaluation()
    pairs = results.confusion_counts()
    display = ConfusionDisplay.from_evaluation(results)
    assert display.labels == (*LABELS, "unknown")
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == list(display.labels)
    order = [*LABELS, None]
    counts = np.array([[pairs[truth, given] for given in order] for truth in order])
    assert np.array_equal(display.counts, counts)
    drawn = display.image_.get_array()
    assert np.allclose(drawn.filled(0), counts / counts.sum(axis=1, keepdims=True))
    assert np.array_equal(drawn.mask, counts == 0)
    assert {place: text.get_text() for place, text in display.texts_.items()} == {
        (row, column): str(counts[row, column]) for row, column in np.argwhere(counts).tolist()
    }
    for (row, column), text in display.texts_.items():
        assert text.get_position() == (column, row)
        assert text.get_color() == ("black" if display.shares[row, column] > 0.5 else "white")


@pytest.mark.parametrize("most", [1, 2, 3, 5, 50])
def test_many_labels_are_reduced_to_those_with_the_most_errors(most):
    """The title says so; numbers are left out where there is no room."""
    labels = tuple(f"label {number:02}" for number in range(40))
    display = ConfusionDisplay.from_evaluation(evaluation(400, 20, labels=labels), max_labels=most)
    assert len(display.labels) == min(most, 41)
    assert display.left_out == 41 - len(display.labels) - (1 if most == 1 else 0)
    assert bool(display.texts_) == (most <= 24)
    assert bool(display.ax_.get_title()) == (most < 41)


def test_names_are_text():
    """A dollar begins no formula, and a long name is cut."""
    labels = ("$x^$", "a label of very many letters")
    display = ConfusionDisplay(np.eye(2, dtype=np.int64), labels).plot()
    display.figure_.canvas.draw()
    texts = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert texts == [r"\$x^\$", "a label of very man…"]


def test_an_empty_row_has_no_share():
    """A label that was given to others, but of which there is no image."""
    display = ConfusionDisplay(np.array([[0, 0], [3, 1]]), ("a", "b")).plot()
    assert np.array_equal(display.shares, [[0, 0], [0.75, 0.25]])


def test_shapes_must_agree():
    """As many rows and columns as labels; at least one label."""
    with pytest.raises(ConfigError, match=r"Expected \(2, 2\)"):
        ConfusionDisplay(np.zeros((2, 3), np.int64), ("a", "b"))
    with pytest.raises(ConfigError, match="max_labels is 0"):
        ConfusionDisplay.from_evaluation(evaluation(), max_labels=0)
