"""Displays are drawn from predictions and from estimators, as those of scikit-learn are."""

import numpy as np
import pytest

from lmm_classifier.core.errors import ConfigError, DatasetError
from lmm_classifier.plots import ConfusionDisplay, ReliabilityDisplay, RiskCoverageDisplay, UnknownsDisplay
from lmm_classifier.plots.predicted import Predicted

DISPLAYS = [ReliabilityDisplay, RiskCoverageDisplay, ConfusionDisplay]
CLASSES = ["apple", "banana", "cherry"]
Y = ["apple", "banana", "cherry", "apple", "plum"]
PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.5, 0.1, 0.4], [0.2, 0.7, 0.1], [0.4, 0.3, 0.3]])


class Fitted:
    """A classifier that was fitted to nothing, whose rows are its probabilities."""

    classes_ = np.array(CLASSES)
    familiarity_threshold_ = -1.5

    def predict_proba(self, rows):
        """Return the rows."""
        return rows

    def score_samples(self, rows):
        """Return their first number."""
        return rows[:, 0]


def test_the_best_class_and_its_probability():
    """Rows of no class are unknown; they have no confidence."""
    predicted = Predicted.of(Y, PROBABILITIES, np.array(CLASSES))
    assert predicted.truth.tolist() == [0, 1, 2, 0, -1]
    assert predicted.best.tolist() == [0, 1, 0, 1, 0]
    confidence, correct = predicted.known()
    assert confidence.tolist() == [0.8, 0.6, 0.5, 0.7]
    assert correct.tolist() == [True, True, False, False]


def test_what_is_drawn():
    """Bins and errors of the known rows; a confusion matrix of all, with the unknown row."""
    reliability = ReliabilityDisplay.from_predictions(Y, PROBABILITIES, CLASSES, bins=2)
    assert [(part.count, part.confidence, part.accuracy) for part in reliability.bins] == [
        (2, pytest.approx(0.55), 0.5),
        (2, pytest.approx(0.75), 0.5),
    ]
    curve = RiskCoverageDisplay.from_predictions(Y, PROBABILITIES, CLASSES)
    assert curve.risk.tolist() == [0, 0.5, pytest.approx(1 / 3), 0.5]
    confusion = ConfusionDisplay.from_predictions(Y, PROBABILITIES, CLASSES)
    assert confusion.labels == ("apple", "banana", "cherry", "unknown")
    assert confusion.counts.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    with pytest.raises(ConfigError, match="max_labels is 0"):
        ConfusionDisplay.from_predictions(Y, PROBABILITIES, CLASSES, max_labels=0)
    with pytest.raises(ConfigError, match="bins is 0"):
        ReliabilityDisplay.from_predictions(Y, PROBABILITIES, CLASSES, bins=0)


@pytest.mark.parametrize("display", DISPLAYS)
def test_an_estimator_gives_the_same(display):
    """Into given axes too; classes may be numbers."""
    from matplotlib import pyplot

    axes = pyplot.figure().add_subplot()
    drawn = display.from_estimator(Fitted(), PROBABILITIES, Y, axes)
    assert drawn.ax_ is axes
    expected = display.from_predictions(Y, PROBABILITIES, CLASSES)
    assert drawn.ax_.get_title() == expected.ax_.get_title()
    assert [line.get_xydata().tolist() for line in drawn.ax_.lines] == [
        line.get_xydata().tolist() for line in expected.ax_.lines
    ]
    display.from_predictions([2, 0, 7], PROBABILITIES[:3], np.array([0, 1, 2]))


def test_unknown_rows_of_an_estimator():
    """Familiarity of both kinds, and the threshold of the estimator."""
    display = UnknownsDisplay.from_estimator(Fitted(), PROBABILITIES, Y)
    assert display.known.tolist() == [0.8, 0.3, 0.5, 0.2]
    assert display.unknown.tolist() == [0.4]
    assert list(display.threshold_.get_xdata()) == [-1.5, -1.5]
    with pytest.raises(ConfigError, match="y has 4 values, X has 5 rows"):
        UnknownsDisplay.from_estimator(Fitted(), PROBABILITIES, Y[:4])
    with pytest.raises(DatasetError, match="nothing to draw"):
        UnknownsDisplay.from_estimator(Fitted(), PROBABILITIES[:0], [])


@pytest.mark.parametrize("display", [*DISPLAYS, UnknownsDisplay])
def test_what_is_no_fitted_classifier(display):
    """The attribute that it lacks is named."""
    with pytest.raises(ConfigError, match="fitted classifier with `.*`, got int"):
        display.from_estimator(3, PROBABILITIES, Y)


@pytest.mark.parametrize(
    ("y", "probabilities", "classes", "error", "message"),
    [
        (Y[:4], PROBABILITIES, CLASSES, ConfigError, r"shape \(5, 3\). Expected \(4, 3\)"),
        (Y, PROBABILITIES[:, 0], CLASSES, ConfigError, r"shape \(5,\)"),
        (Y, PROBABILITIES, ["apple", "apple", "plum"], ConfigError, "3 classes, of which 2 differ"),
        (Y, PROBABILITIES[:, :0], [], ConfigError, "0 classes"),
        (Y, PROBABILITIES - 0.5, CLASSES, ConfigError, "from 0 to 1"),
        (Y, PROBABILITIES * np.nan, CLASSES, ConfigError, "from 0 to 1"),
        (Y, PROBABILITIES.astype(str), CLASSES, ConfigError, "from 0 to 1"),
        ([Y], PROBABILITIES, CLASSES, ConfigError, "one value for each row"),
        ([], PROBABILITIES[:0], CLASSES, DatasetError, "no row"),
        ([0, 1, 2, 0, 1], PROBABILITIES, CLASSES, DatasetError, "such as 'apple': y has values such as 0"),
    ],
)
def test_wrong_predictions(y, probabilities, classes, error, message):
    """What was expected, and what came."""
    with pytest.raises(error, match=message):
        ReliabilityDisplay.from_predictions(y, probabilities, classes)


def test_classes_of_one_text():
    """They could not be told apart in a chart of names."""
    with pytest.raises(ConfigError, match="Two classes have the same text"):
        ConfusionDisplay.from_predictions([1, "1"], np.eye(2), np.array([1, "1"], object))
