"""What is measured of all rows of a store is what is measured in memory."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.calibration.sparse import store_statistics as module
from lmm_classifier.calibration.sparse.store_statistics import fit_store_scatter, label_densities, sample_of_store
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import fit_scatter
from lmm_classifier.neighbors.novelty import NeighborDensity
from lmm_classifier.testing import clustered_embeddings


def stored(positive=False, each=12):
    names = [label for label in "abcde" for _ in range(each)]
    rows = clustered_embeddings(np.random.default_rng(0), names, 16)
    store = MemoryRowStore(Index.from_vectors(np.abs(rows) if positive else rows, names))
    return store, store.rows_of_ids(np.arange(len(names)), ("vectors", "contents"))


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("power_normalize", [None, False, True])
def test_the_scatter(positive, power_normalize):
    """Root, center, means and metric are those of the rows in memory."""
    store, rows = stored(positive)
    found = fit_store_scatter(store, power_normalize)
    expected = fit_scatter(rows.vectors, rows.label_ids, 5, power_normalize)
    assert found.power_normalize == expected.power_normalize
    assert found.freedom == expected.freedom
    np.testing.assert_allclose(found.center, expected.center, atol=1e-6)
    np.testing.assert_allclose(found.means, expected.means, atol=1e-9)
    np.testing.assert_allclose(found.metric(0.3).projection, expected.metric(0.3).projection, rtol=1e-3, atol=1e-3)


def test_the_sample_has_the_lowest_contents():
    """Whatever the blocks, and ordered by id."""
    store, rows = stored()
    expected = np.sort(np.argsort(np.array(rows.contents))[:20])
    sample = sample_of_store(store, 20)
    np.testing.assert_array_equal(sample.ids, expected)
    np.testing.assert_array_equal(sample.vectors, rows.vectors[expected])
    assert len(sample_of_store(store, 1000)) == 60


def test_the_density_of_labels(monkeypatch):
    """It is the mean over rows of a label; labels that are not asked about have the mean of the others."""
    store, rows = stored(each=9)
    of_rows = NeighborDensity.of(Gallery(rows.vectors, rows.label_ids, 5)).knn_distance
    expected = np.bincount(rows.label_ids, of_rows) / 9
    np.testing.assert_allclose(label_densities(store), expected, atol=1e-6)
    monkeypatch.setattr(module, "_DENSITY_ROWS", 2)
    few = label_densities(store)
    assert few[1] == few[2] == few[3] == pytest.approx((few[0] + few[4]) / 2)
    assert few[0] != few[4]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 60), st.integers(0, 9))
def test_any_sample_has_the_lowest_contents(counts, most, seed):
    """Whatever the sizes of the labels; a label may hold most of the lowest."""
    names = [f"{label}" for label, count in enumerate(counts) for _ in range(count)]
    rows = np.random.default_rng(seed).normal(size=(len(names), 4))
    store = MemoryRowStore(Index.from_vectors(rows, names))
    every = [(content, row) for block in store.blocks(("contents",)) for content, row in zip(block.contents, block.ids)]
    expected = sorted(int(row) for _, row in sorted(every)[:most])
    assert sample_of_store(store, most).ids.tolist() == expected


def test_a_label_may_hold_all_of_the_lowest():
    """More of it is read then, and no more of the others."""
    names = ["low"] * 60 + ["high"] * 600
    rows = np.random.default_rng(0).normal(size=(len(names), 4)).astype(np.float32)
    hashes = [f"{number:064x}" for number in range(60)] + [f"f{number:063x}" for number in range(600)]
    contents = replace(Index.from_vectors(rows, names).contents, hashes=hashes)
    store = MemoryRowStore(Index(contents, IdentityTransform(), Index.from_vectors(rows, names).gallery.embeddings))
    sample = sample_of_store(store, 50)
    assert [store.label_names[label] for label in sample.label_ids] == ["low"] * 50
