"""A fit is carried to another version of an index as a stored calibration is, and refused where that is stale."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.loading import Loaded, load_calibration
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.voting import make_rule
from lmm_classifier.pipeline.retrieval.carried_fit import CarriedFit
from lmm_classifier.testing import clustered_embeddings
from tests.helpers.vector_indexes import DIM, LABELS, write_vectors

CONFIG = RetrievalConfig()
COUNT = len(LABELS)


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Return a function that opens the index with some examples removed and others added."""
    root = tmp_path_factory.mktemp("carried")
    labels = [*LABELS, *"ab" * 30]
    vectors = clustered_embeddings(np.random.default_rng(0), labels, DIM, 0.6)

    def opened(removed=0, added=0, new_label=None, scale=1):
        rows = [*range(removed, COUNT), *range(COUNT, COUNT + added)]
        names = [new_label if new_label and row >= COUNT else labels[row] for row in rows]
        hashes = [f"{row:064x}" for row in rows]
        return Index.open(write_vectors(root / f"{removed}-{added}-{new_label}.npz", names, vectors[rows], hashes))

    return opened


def spec_of(index):
    return make_rule(CONFIG, index.label_ids, len(index.label_names))


def carried(fitted, index):
    return fitted.on(index.contents, index.contents, spec_of(index))


def assert_same_numbers(first, second):
    """Compare what two calibrations would store of the fit of an encoder."""
    arrays, others = first.to_arrays(), second.to_arrays()
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name])


@pytest.mark.parametrize("changes", [{}, {"added": 9}, {"removed": 7}, {"removed": 5, "added": 20}], ids=str)
def test_it_is_what_a_stored_calibration_would_be(versions, changes):
    """The same numbers as by storing the fit with the first version and loading it with the second."""
    first, second = versions(), versions(**changes)
    calibration, _ = fit_by_leave_one_out(CONFIG, [first])
    answer = carried(CarriedFit.of(calibration, first.contents, first.contents), second)
    stored = replace(second.contents, calibration=calibration.to_arrays(first.contents))
    loaded = load_calibration(stored, spec_of(second))
    assert isinstance(loaded, Loaded)
    assert answer.cascade == loaded.calibration.cascade
    np.testing.assert_array_equal(answer.familiarity, loaded.calibration.familiarity)
    assert_same_numbers(answer.fits[0], loaded.calibration.fits[0])
    added = changes.get("added", 0)
    assert np.isnan(answer.fits[0].familiarity.knn_distance).sum() == added


@pytest.mark.parametrize("changes", [{"added": 60}, {"removed": 60}], ids=str)
def test_too_many_changes_make_a_new_fit_due(versions, changes):
    """The same limit as for a stored calibration."""
    first = versions()
    fitted = CarriedFit.of(fit_by_leave_one_out(CONFIG, [first])[0], first.contents, first.contents)
    assert carried(fitted, versions(**changes)) is None


def test_a_new_label_is_carried_and_another_rule_or_transform_is_not(versions):
    """A spec has the number of labels of its version."""
    first, second = versions(), versions(added=4, new_label="new")
    fitted = CarriedFit.of(fit_by_leave_one_out(CONFIG, [first])[0], first.contents, first.contents)
    assert carried(fitted, second).fits[0].rule.spec is not None
    assert fitted.on(second.contents, second.contents, replace(spec_of(second), name="another")) is None
    assert replace(fitted, vectors="another transform").on(second.contents, second.contents, spec_of(second)) is None
