"""The estimate for unknown images agrees with how well labels can be told apart."""

import numpy as np
import pytest

from lmm_classifier.calibration.rule_fitting import ChosenMetric, choose_metric, score_held_out
from lmm_classifier.calibration.simulated_unknowns import estimate_open_set_tradeoff
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import fit_scatter, gallery_in_metric
from lmm_classifier.neighbors.novelty import Familiarity, NeighborDensity, keep_known_threshold
from lmm_classifier.neighbors.voting import make_rule
from lmm_classifier.testing import clustered_embeddings


def tradeoff(spread, labels=10, count=20):
    """Return the estimate for labels of a given spread."""
    names = [f"{number:02}" for number in range(labels) for _ in range(count)]
    gallery = Gallery(
        clustered_embeddings(np.random.default_rng(0), names, 24, spread), np.repeat(np.arange(labels), count), labels
    )
    spec = make_rule(RetrievalConfig(), gallery.label_ids, labels)
    return estimate_open_set_tradeoff([choose_metric(spec, gallery).metric], [gallery], np.ones(1), (0.95, 0.8))


def test_compact_labels_are_easier_than_spread_ones():
    """Of compact labels few unknown images are accepted; accepting fewer known images accepts fewer unknown ones."""
    easy, hard = tradeoff(0.3), tradeoff(3.0)
    assert easy.auroc > 0.97
    assert hard.auroc < easy.auroc
    for estimate in (easy, hard):
        assert estimate.accepted[0.8] <= estimate.accepted[0.95]
    assert easy.accepted[0.95] < 0.2


def test_the_estimate_is_that_of_holding_labels_out_by_hand():
    """For each fifth of the labels: a familiarity fitted without them, and how it separates their images."""
    label_ids = np.repeat(np.arange(9), [8, 8, 2, 8, 8, 8, 2, 8, 1])  # the last has one image: it is never held out
    embeddings = clustered_embeddings(np.random.default_rng(3), [f"{number}" for number in label_ids], 16, 1.5)
    gallery = Gallery(embeddings, label_ids, 9)
    spec = make_rule(RetrievalConfig(power_normalize=False), label_ids, 9)
    metric = choose_metric(spec, gallery).metric
    found = estimate_open_set_tradeoff([metric], [gallery], np.ones(1), (0.95, 0.7))
    areas, accepted = [], []
    order = np.random.default_rng(0).permutation(8)
    for number in range(5):
        unknown = np.isin(label_ids, order[number::5])
        known_ids = np.unique(label_ids[~unknown], return_inverse=True)[1]
        known = Gallery(embeddings[~unknown], known_ids, int(known_ids.max()) + 1)
        scatter = fit_scatter(known.embeddings, known_ids, known.labels, False)
        new_metric = scatter.metric(metric.shrinkage)
        mapped = gallery_in_metric(new_metric, known)
        density, chosen = NeighborDensity.of(known), ChosenMetric(new_metric, scatter, {})
        every = np.arange(len(known_ids))
        held_out = score_held_out(spec, chosen, known, mapped, density, every)
        familiarity = Familiarity.fit(density.knn_distance, held_out.signals)
        queries = embeddings[unknown]
        of_unknown = familiarity.of(known.compare(queries), mapped.compare(new_metric.whiten(queries)))
        of_known = familiarity.of_signals(held_out.signals)
        areas.append((of_known[:, None] > of_unknown).mean() + 0.5 * (of_known[:, None] == of_unknown).mean())
        accepted.append([(of_unknown >= keep_known_threshold(of_known, keep)).mean() for keep in (0.95, 0.7)])
    assert found.auroc == pytest.approx(np.mean(areas), abs=1e-6)
    assert tuple(found.accepted.values()) == pytest.approx(tuple(np.mean(accepted, axis=0)))


def test_three_labels_are_enough():
    """Each is held out alone; labels of one image do not count."""
    assert tradeoff(0.3, labels=3) is not None
    assert tradeoff(0.3, labels=3, count=1) is None


def test_two_labels_give_no_estimate():
    """With one of two labels held out, only one label is known."""
    assert tradeoff(0.3, labels=2) is None
