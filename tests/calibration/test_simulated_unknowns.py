"""The estimate for look-alikes agrees with look-alikes that are really left out."""

import numpy as np

from lmm_classifier.calibration.fit import choose_metric
from lmm_classifier.calibration.simulated_unknowns import estimate_trade
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.voting import open_recipe
from lmm_classifier.testing import clustered_rows


def trade(spread, labels=10, count=20):
    """The estimate for labels of a given spread."""
    names = [f"{number:02}" for number in range(labels) for _ in range(count)]
    gallery = Gallery(
        clustered_rows(np.random.default_rng(0), names, 24, spread), np.repeat(np.arange(labels), count), labels
    )
    recipe = open_recipe(RetrievalConfig(), gallery.label_ids, labels)
    return estimate_trade(choose_metric(recipe, gallery).metric, gallery, (0.95, 0.8))


def test_easy_and_hard():
    """Tight labels are told apart, spread ones are not; keeping less lets less through."""
    easy, hard = trade(0.3), trade(3.0)
    assert easy.auroc > 0.97
    assert hard.auroc < easy.auroc
    for one in (easy, hard):
        assert one.passed[0.8] <= one.passed[0.95]
    assert easy.passed[0.95] < 0.2


def test_two_labels_tell_nothing():
    """With one of two labels left out there is nothing to be unlike to."""
    assert trade(0.3, labels=2) is None
