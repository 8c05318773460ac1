"""A calibration of a store comes back the same, and is not used where anything else than its numbers differs."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.loading import Loaded, Missing, Stale
from lmm_classifier.calibration.sparse.store_fit import fit_through_stores
from lmm_classifier.calibration.sparse.store_loading import (
    load_store_calibration,
    store_calibration_arrays,
    usable_store_calibration,
)
from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.neighbors.gathering.store_rule import make_store_rule
from lmm_classifier.testing import clustered_embeddings

SPEC = make_store_rule(RetrievalConfig(), 8, ReadingLimits())


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "rooted"])
def stored(request):
    """Return a calibration, the contents of its index, and its arrays."""
    names = [label for label in "abcdefgh" for _ in range(12)]
    rows = clustered_embeddings(np.random.default_rng(0), names, 12)
    index = Index.from_vectors(np.abs(rows) if request.param else rows, names)
    calibration, _ = fit_through_stores(RetrievalConfig(), [MemoryRowStore(index)])
    return calibration, index.contents, store_calibration_arrays(calibration, index.contents, "version 1")


def test_it_comes_back(stored):
    """Rule, lines, familiarity and held-out results are the same."""
    calibration, contents, arrays = stored
    loaded = load_store_calibration(replace(contents, calibration=arrays), "version 1", SPEC)
    assert isinstance(loaded, Loaded)
    again, fit = loaded.calibration.fits[0], calibration.fits[0]
    assert again.rule.temperatures == fit.rule.temperatures
    assert again.unread == fit.unread
    np.testing.assert_array_equal(again.familiarity.knn_distance, fit.familiarity.knn_distance)
    np.testing.assert_array_equal(loaded.calibration.held_out.confidence, calibration.held_out.confidence)
    if fit.means is None:
        assert again.means is None
    else:
        np.testing.assert_array_equal(again.means, fit.means)
    assert max(np.size(array) for name, array in arrays.items() if "metric" not in name) <= 8 * 12


@pytest.mark.parametrize(
    ("version", "changed", "reason"),
    [
        ("version 2", {}, "another version of the rows"),
        ("version 1", {"rule": np.array(["tip"])}, "of the rule 'tip'"),
        ("version 1", {"vectors": np.array(["other"])}, "the encoder of the index changed"),
        ("version 1", {"encoder.0.familiarity.knn_distance": np.full(8, np.nan)}, "damaged"),
        ("version 1", {"encoder.0.unread": np.zeros(4)}, "damaged"),
        ("version 1", {"encoder.0.means": np.zeros((3, 12))}, "damaged"),
        ("version 1", {"conformity_scores": np.array([2.0])}, "damaged"),
    ],
)
def test_another_is_stale(stored, version, changed, reason, caplog):
    """The reason is told, and nothing of it is used."""
    _, contents, arrays = stored
    contents = replace(contents, calibration={**arrays, **changed})
    state = load_store_calibration(contents, version, SPEC)
    assert isinstance(state, Stale)
    assert reason in state.reason
    assert usable_store_calibration(contents, version, SPEC) is None
    assert reason in caplog.text


def test_there_may_be_none(stored):
    """That is no reason for a warning."""
    contents = replace(stored[1], calibration=None)
    assert isinstance(load_store_calibration(contents, "", SPEC), Missing)
    assert usable_store_calibration(contents, "", SPEC) is None
