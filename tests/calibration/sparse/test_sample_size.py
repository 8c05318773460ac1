"""Which examples are held out: an even sample, or those with the lowest content hashes."""

import numpy as np
import pytest

from lmm_classifier.calibration.sparse.sample_size import SampleSize
from lmm_classifier.calibration.sparse.sampling import LowestContents
from lmm_classifier.calibration.sparse.store_statistics import sample_of_store
from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import clustered_embeddings


@pytest.fixture(scope="module")
def index():
    names = [label for label in "abcd" for _ in range(50)]
    return Index.from_vectors(clustered_embeddings(np.random.default_rng(0), names, 8), names)


def test_the_lowest_contents_are_those_of_a_store(index):
    """So that a calibration with all rows in memory can be compared with one through a store."""
    rows = SampleSize(LowestContents(60)).sample(index, by_graph=False)
    of_store = sample_of_store(MemoryRowStore(index), 60)
    found = sorted(map(bytes, index.gallery.embeddings[rows]))
    assert len(rows) == 60
    assert found == sorted(map(bytes, of_store.vectors))


def test_the_metric_is_chosen_by_such_examples_too(index, monkeypatch):
    """Otherwise both would often have another shrinkage."""
    monkeypatch.setattr("lmm_classifier.calibration.sparse.sample_size.rows_for_shrinkage", lambda labels: 60)
    assert np.array_equal(
        SampleSize(LowestContents(60)).judges(index), SampleSize(LowestContents(60)).sample(index, by_graph=False)
    )
    assert not np.array_equal(SampleSize(60).judges(index), SampleSize(LowestContents(60)).judges(index))
