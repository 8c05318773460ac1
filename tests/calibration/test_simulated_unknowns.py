"""The estimate for unknown images agrees with how well labels can be told apart."""

import numpy as np

from lmm_classifier.calibration.rule_fitting import choose_metric
from lmm_classifier.calibration.simulated_unknowns import estimate_open_set_tradeoff
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.voting import make_rule
from lmm_classifier.testing import clustered_embeddings


def tradeoff(spread, labels=10, count=20):
    """Return the estimate for labels of a given spread."""
    names = [f"{number:02}" for number in range(labels) for _ in range(count)]
    gallery = Gallery(
        clustered_embeddings(np.random.default_rng(0), names, 24, spread), np.repeat(np.arange(labels), count), labels
    )
    spec = make_rule(RetrievalConfig(), gallery.label_ids, labels)
    return estimate_open_set_tradeoff(choose_metric(spec, gallery).metric, gallery, (0.95, 0.8))


def test_compact_labels_are_easier_than_spread_ones():
    """Of compact labels few unknown images are accepted; accepting fewer known images accepts fewer unknown ones."""
    easy, hard = tradeoff(0.3), tradeoff(3.0)
    assert easy.auroc > 0.97
    assert hard.auroc < easy.auroc
    for estimate in (easy, hard):
        assert estimate.accepted[0.8] <= estimate.accepted[0.95]
    assert easy.accepted[0.95] < 0.2


def test_two_labels_give_no_estimate():
    """With one of two labels held out, only one label is known."""
    assert tradeoff(0.3, labels=2) is None
