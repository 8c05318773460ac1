"""A fit through a store is the exact one, where all labels are read, and nearly so where some are."""

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.sparse.store_fit import StoreFitting, fit_through_stores
from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.testing import clustered_embeddings


def made(positive=False):
    names = [f"label {number:02}" for number in range(30) for _ in range(12)]
    rows = clustered_embeddings(np.random.default_rng(0), names, 24, spread=1.2)
    index = Index.from_vectors(np.abs(rows) if positive else rows, names)
    return index, MemoryRowStore(index)


@pytest.mark.parametrize("positive", [False, True], ids=["plain", "rooted"])
@pytest.mark.parametrize("rule", ["auto", pytest.param("top_k_mean", marks=pytest.mark.long)])
def test_all_labels_are_read(rule, positive):
    """Temperatures, confidences and metric are those of exact leave-one-out; the density is that of the labels."""
    index, store = made(positive)
    config = RetrievalConfig(rule=rule)
    found, predictions = fit_through_stores(config, [store], StoreFitting(ReadingLimits(likely=30)))
    exact, expected = fit_by_leave_one_out(config, [index])
    rule_found, rule_exact = found.fits[0].rule, exact.fits[0].rule
    assert rule_found.metric.shrinkage == rule_exact.metric.shrinkage
    np.testing.assert_allclose(rule_found.temperatures, rule_exact.temperatures, rtol=5e-3)
    assert rule_found.temperature == pytest.approx(rule_exact.temperature, rel=5e-3)
    np.testing.assert_allclose(np.sort(predictions.confidence), np.sort(expected.confidence), atol=5e-3)
    assert found.held_out.accuracy == exact.held_out.accuracy
    assert found.fits[0].familiarity.knn_distance.shape == (30,)
    assert np.corrcoef(np.sort(predictions.familiarity), np.sort(expected.familiarity))[0, 1] > 0.98
    assert (found.fits[0].means is not None) == (positive and rule_found.metric.power_normalize)


def test_some_labels_are_read():
    """The others get what is usual for them, so that the examples are as sure as with all labels."""
    index, store = made()
    limits = ReadingLimits(likely=4, nearest=20, labels=6)
    found, predictions = fit_through_stores(RetrievalConfig(), [store], StoreFitting(limits))
    exact, _ = fit_by_leave_one_out(RetrievalConfig(), [index])
    assert set(found.fits[0].unread.lines) == {3, 5}
    assert found.held_out.accuracy == pytest.approx(exact.held_out.accuracy, abs=0.02)
    assert predictions.confidence.mean() == pytest.approx(exact.held_out.confidence.mean(), abs=0.02)


def test_the_number_of_examples():
    """As many as are wanted; their rows are ids of the store."""
    _, store = made()
    found, predictions = fit_through_stores(RetrievalConfig(), [store], StoreFitting(most=50))
    assert len(found.held_out) == 50
    block = store.rows_of_ids(predictions.rows, ())
    np.testing.assert_array_equal(block.label_ids, predictions.label_ids)
