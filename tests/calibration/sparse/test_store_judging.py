"""Rows that are judged after a fit have the predictions of the fit; more of them than have dense scores."""

import numpy as np
import pytest

from lmm_classifier.calibration import rule_fitting
from lmm_classifier.calibration.sparse.store_fit import StoreFitting, fit_through_stores
from lmm_classifier.calibration.sparse.store_judging import judged_blocks
from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.testing import clustered_embeddings
from tests.helpers.vector_indexes import write_encoders

LABELS = [f"label {number:03}" for number in range(70) for _ in range(4)]  # 64 of them are read for an example


def stores_of(folder, count, roots=False):
    """Stores of the same rows, with the vectors of each of some encoders."""
    rng = np.random.default_rng(0)
    each = [clustered_embeddings(rng, LABELS, 16, spread=spread) for spread in (0.9, 0.8, 0.7)[:count]]
    if roots:
        each = [np.abs(vectors) for vectors in each]
    write_encoders(folder / "index", LABELS, each)
    return [MemoryRowStore(index) for index in Index.open_each(folder / "index")]


CASES = [
    (1, False, False),
    (1, False, True),
    pytest.param(2, False, False, marks=pytest.mark.long),
    (3, True, False),
]


@pytest.mark.parametrize(("encoders", "cascade", "roots"), CASES, ids=["one", "roots", "fused", "cascade"])
def test_the_examples_of_the_fit_have_its_predictions(tmp_path, encoders, cascade, roots):
    """Of each label, by all experts together and by each alone; in any blocks."""
    stores = stores_of(tmp_path, encoders, roots)
    config = RetrievalConfig(cascade=cascade)
    fitted = fit_through_stores(config, stores, StoreFitting(sparse=False))
    calibration, predictions = fitted
    assert len(calibration.cascade.stages) == (3 if cascade else 1)
    assert (calibration.fits[0].means is not None) == roots
    assert len(predictions.rows) == 280
    found = list(judged_blocks(stores, fitted, predictions.rows))
    assert len(found) > 3
    for name in ("rows", "label_ids", "log_probabilities", "familiarity"):
        joined = np.concatenate([getattr(block, name) for block in found])
        np.testing.assert_allclose(joined, getattr(predictions, name), rtol=0, atol=1e-9, err_msg=name)
    for number, expected in enumerate(predictions.expert_log_probabilities):
        joined = np.concatenate([block.expert_log_probabilities[number] for block in found])
        np.testing.assert_allclose(joined, expected, rtol=0, atol=1e-9)


def test_more_rows_than_have_dense_scores(tmp_path, monkeypatch):
    """A fit to some rows judges all of them, nearly as a fit to all does."""
    stores, config = stores_of(tmp_path, 2), RetrievalConfig()
    _, every = fit_through_stores(config, stores, StoreFitting(sparse=False))
    monkeypatch.setattr(rule_fitting, "MAX_SCORES", 140 * 70)
    fitted = fit_through_stores(config, stores, StoreFitting(sparse=False))
    assert len(fitted[1].rows) == 140
    logs = np.concatenate([block.log_probabilities for block in judged_blocks(stores, fitted, every.rows)])
    assert (logs.argmax(axis=1) == every.log_probabilities.argmax(axis=1)).mean() > 0.99
    assert np.abs(np.exp(logs) - np.exp(every.log_probabilities)).max() < 0.15
