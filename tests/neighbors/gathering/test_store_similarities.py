"""A comparison with a store is that with all rows, for the labels that are read; and so is leave-one-out."""

import numpy as np
import pytest

from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.gathering.gathered import UnreadLabels
from lmm_classifier.neighbors.gathering.reading import ReadingLimits
from lmm_classifier.neighbors.gathering.store_similarities import StoreComparison
from lmm_classifier.neighbors.leave_one_out import LeaveOneOut
from lmm_classifier.neighbors.metric import fit_scatter, gallery_in_metric
from lmm_classifier.testing import clustered_embeddings, random_embeddings

SHRINKAGE = 0.3


def dataset(labels=6, each=20, dim=16, positive=False):
    """Return the store, and its rows as a gallery in the space of the index and in the metric."""
    names = [f"label {number}" for number in range(labels) for _ in range(each)]
    rows = clustered_embeddings(np.random.default_rng(0), names, dim, spread=1.2)
    rows = np.abs(rows) if positive else rows
    index = Index.from_vectors(rows, names)
    store = MemoryRowStore(index)
    block = store.rows_of_ids(np.arange(len(rows)), ("vectors",))
    plain = Gallery(block.vectors, block.label_ids, labels)
    scatter = fit_scatter(block.vectors, block.label_ids, labels)
    metric = scatter.metric(SHRINKAGE)
    return store, plain, gallery_in_metric(metric, plain), scatter, metric


EVERY = ReadingLimits(likely=100, labels=100)


def comparison(store, scatter, metric, limits=EVERY, **options):
    downdate = (1 - SHRINKAGE) / scatter.freedom
    return StoreComparison(store, metric, scatter.means, limits=limits, downdate=downdate, **options)


def assert_same(found, expected, cosine=2e-6, mean=2e-6):
    np.testing.assert_allclose(found.mean_cosines(), expected.mean_cosines(), atol=mean)
    np.testing.assert_allclose(found.square_distances(), expected.square_distances(), rtol=1e-4)
    np.testing.assert_allclose(found.top_k_mean(5), expected.top_k_mean(5), atol=cosine)
    np.testing.assert_allclose(found.best_label(), expected.best_label(), atol=cosine)
    rows, cosines = found.nearest_each(7)
    expected_rows, expected_cosines = expected.nearest_each(7)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(cosines, expected_cosines, atol=cosine)


@pytest.mark.parametrize("positive", [False, True], ids=["plain", "rooted"])
def test_all_labels_are_read(positive):
    """Where the limits allow all labels, every answer is that of a comparison with all rows, in both spaces."""
    store, plain, mapped, scatter, metric = dataset(positive=positive)
    queries = random_embeddings(np.random.default_rng(1), 9, 16)
    found = comparison(store, scatter, metric).compare(queries)
    exact = plain.compare(queries)
    assert_same(found[0], exact)
    assert_same(found[1], mapped.compare(metric.whiten(exact.embeddings)))
    wanted = [(0, 2), (4, 0), (4, 5)]
    rows, cosines = found[0].nearest_of_labels(wanted, 3)
    expected = exact.nearest_among([(query, plain.rows_of_label[label]) for query, label in wanted], 3)
    np.testing.assert_array_equal(rows, expected[0])
    np.testing.assert_allclose(cosines, expected[1], atol=1e-6)


@pytest.mark.parametrize("positive", [False, True], ids=["plain", "rooted"])
def test_rows_are_left_out(positive):
    """Rows that are left out of a query count nowhere, also not in the means."""
    store, plain, mapped, scatter, metric = dataset(positive=positive)
    ids = np.array([3, 50, 117])
    block = store.rows_of_ids(ids, ("vectors",))
    left_out = [ids[:1], ids[:0], ids[1:]]
    found = comparison(store, scatter, metric).compare(block.vectors, left_out)
    exact = plain.compare(block.vectors, left_out)
    assert_same(found[0], exact)
    assert_same(found[1], mapped.compare(metric.whiten(exact.embeddings), left_out))


@pytest.mark.parametrize("positive", [False, True], ids=["plain", "rooted"])
def test_leave_one_out(positive):
    """Each row left out gives what exact leave-one-out gives, in both spaces, also where a block is read in parts."""
    store, plain, mapped, scatter, metric = dataset(positive=positive)
    rows = np.arange(0, 120, 7)
    through = comparison(store, scatter, metric)
    found = through.leave_out(store.rows_of_ids(rows, ("vectors",)))
    downdate = (1 - SHRINKAGE) / scatter.freedom
    (_, exact), *_ = LeaveOneOut(plain).blocks(rows)
    (_, in_metric), *_ = LeaveOneOut(mapped, downdate, centered=True).blocks(rows)
    assert_same(found[0], exact, cosine=1e-5)
    assert_same(found[1], in_metric, cosine=2e-5, mean=2e-5)


def test_little_memory_gives_the_same_bits(monkeypatch):
    """How many queries share a read changes nothing."""
    store, _, _, scatter, metric = dataset()
    limits = ReadingLimits(likely=1, nearest=5, labels=3)
    queries = random_embeddings(np.random.default_rng(1), 9, 16)
    together = comparison(store, scatter, metric, limits).compare(queries)
    monkeypatch.setattr("lmm_classifier.neighbors.gathering.reading._BYTES_AT_ONCE", 16 * 4 * 50)
    parted = comparison(store, scatter, metric, limits).compare(queries)
    alone = [comparison(store, scatter, metric, limits).compare(queries[[query]]) for query in range(9)]
    for space in (0, 1):
        np.testing.assert_array_equal(parted[space].top_k_mean(5), together[space].top_k_mean(5))
        np.testing.assert_array_equal(
            np.concatenate([one[space].top_k_mean(5) for one in alone]), together[space].top_k_mean(5)
        )


def test_labels_that_are_not_read():
    """At most as many labels are read as the limits say; the others have what the line says, in the scored space."""
    store, plain, mapped, scatter, metric = dataset()
    limits = ReadingLimits(likely=1, nearest=5, labels=3)
    queries = random_embeddings(np.random.default_rng(1), 9, 16)
    unread = UnreadLabels({5: (0.1, 0.5)})
    found = comparison(store, scatter, metric, limits, unread=unread).compare(queries)
    exact = mapped.compare(metric.whiten(plain.compare(queries).embeddings))
    is_read = np.isfinite(comparison(store, scatter, metric, limits).compare(queries)[1].top_k_mean(5))
    assert 0 < is_read.sum() <= 27
    np.testing.assert_allclose(found[1].top_k_mean(5)[is_read], exact.top_k_mean(5)[is_read], atol=1e-5)
    np.testing.assert_allclose(found[1].top_k_mean(5)[~is_read], 0.1 + 0.5 * exact.mean_cosines()[~is_read], atol=1e-5)
    likeliest = exact.mean_cosines().argmax(axis=1)
    assert is_read[np.arange(9), likeliest].all()


def test_of_a_large_label_a_sample_and_the_near_rows_are_read():
    """The rows that the search finds are compared although their label is not read whole."""
    store, plain, _, scatter, metric = dataset(labels=2, each=100)
    queries = random_embeddings(np.random.default_rng(1), 9, 16)
    limits = ReadingLimits(likely=2, nearest=5, labels=2, rows=10)
    found, _ = comparison(store, scatter, metric, limits).compare(queries)
    assert all(20 < len(found._rows_of(query)) < 60 for query in range(9))
    np.testing.assert_array_equal(found.nearest_each(5)[0], plain.compare(queries).nearest_each(5)[0])
