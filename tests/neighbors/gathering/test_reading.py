"""Which labels compete, and how their rows are read."""

import numpy as np
import pytest

from lmm_classifier.index.backends.memory_rows import MemoryRowStore
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.gallery import ProjectedMetric
from lmm_classifier.neighbors.gathering import reading as module
from lmm_classifier.neighbors.gathering.reading import FoundRows, ReadingLimits, RowReader, competing_labels
from lmm_classifier.neighbors.metric import fit_scatter
from lmm_classifier.testing import clustered_embeddings


def found(*labels):
    return FoundRows(np.arange(len(labels))[None], np.array([labels]))


def test_labels_in_the_order_of_their_evidence():
    """First the nearest means, then the nearest neighbors, then what is near in the space of the scores."""
    cosines = np.array([[0.1, 0.9, -np.inf, 0.8, 0.2, 0.3]])
    near, in_space = found(4, 4, -1), found(5, 0)
    for most, expected in [(1, [1]), (2, [1, 3]), (3, [1, 3, 4]), (4, [1, 3, 4, 5]), (9, [0, 1, 3, 4, 5])]:
        (labels,) = competing_labels(ReadingLimits(likely=2, labels=most), cosines, near, in_space)
        assert labels.tolist() == expected
    (labels,) = competing_labels(ReadingLimits(likely=9), cosines, found(-1), found(-1))
    assert labels.tolist() == [0, 1, 3, 4, 5]  # one without rows does not compete


def test_rows_that_are_left_out_are_not_found():
    """Their ids and labels become -1."""
    rows = found(3, 4, 5).without([np.array([1, 7])])
    assert rows.ids.tolist() == [[0, -1, 2]]
    assert rows.label_ids.tolist() == [[3, -1, 5]]


def test_norms_are_computed_once(monkeypatch):
    """Those of a label are remembered, while memory allows."""
    names = [label for label in "abcd" for _ in range(10)]
    store = MemoryRowStore(Index.from_vectors(clustered_embeddings(np.random.default_rng(0), names, 8), names))
    rows = store.rows_of_ids(np.arange(40), ("vectors",))
    metric, mapped = fit_scatter(rows.vectors, rows.label_ids, 4).metric(0.5), []
    whiten = metric.whiten
    monkeypatch.setattr(metric, "whiten", lambda part: mapped.append(len(part)) or whiten(part))
    reader = RowReader(store, metric, ReadingLimits())
    wanted = [np.array([0, 2]), np.array([2, 3])]
    for _ in range(2):
        ((part, gathered),) = reader.read(wanted, [])
        assert part == slice(0, 2)
        assert [gathered.rows.label_ids[own].tolist() for own in gathered.of_queries] == [
            [0] * 10 + [2] * 10,
            [2] * 10 + [3] * 10,
        ]
        expected = np.linalg.norm(whiten(gathered.rows.vectors).astype(float), axis=1)
        np.testing.assert_allclose(gathered.norms, expected, rtol=1e-6)
    assert mapped == [30]
    monkeypatch.setattr(module, "_NORMS_KEPT", 10)
    list(reader.read([np.array([1])], []))
    list(reader.read([np.array([0])], []))
    assert mapped == [30, 10, 10]


@pytest.mark.parametrize("power_normalize", [False, True])
def test_rows_found_are_in_the_order_of_their_cosines_in_the_metric(power_normalize):
    """With stored norms and without; with square roots the products say little, so their order stays."""
    rng, names = np.random.default_rng(0), [label for label in "abcdefgh" for _ in range(10)]
    vectors = clustered_embeddings(rng, names, 8, spread=1.0)
    plain = MemoryRowStore(Index.from_vectors(np.abs(vectors) if power_normalize else vectors, names))
    rows = plain.rows_of_ids(np.arange(80), ("vectors",))
    metric = fit_scatter(rows.vectors, rows.label_ids, 8, power_normalize).metric(0.1)
    mapped = metric.whiten(rows.vectors).astype(np.float64)
    queries = mapped[:5] / np.linalg.norm(mapped[:5], axis=1, keepdims=True)
    cosines = queries @ (mapped / np.linalg.norm(mapped, axis=1, keepdims=True)).T
    forms = ProjectedMetric(metric.center, metric.projection, np.empty(0)).forms_and_offsets(queries)
    for store in (plain, plain.with_norms(metric.digest, metric.norms)):
        near = RowReader(store, metric, ReadingLimits(nearest=80)).near_in_metric(*forms, spare=5)
        assert (near.ids[:, 80:] == -1).all()
        assert np.array_equal(near.label_ids[:, :80], rows.label_ids[near.ids[:, :80]])
        in_order = np.take_along_axis(cosines, near.ids[:, :80], axis=1)
        assert (np.diff(in_order, axis=1) <= 1e-6).all() != power_normalize
        few = RowReader(store, metric, ReadingLimits(nearest=3, searched=80)).near_in_metric(*forms)
        assert np.array_equal(few.ids, near.ids[:, :3])


def test_stored_norms_are_read_and_not_computed(monkeypatch):
    """Of the rows found only the norms are read; of those compared the vectors too."""
    names = [label for label in "abcd" for _ in range(10)]
    store = MemoryRowStore(Index.from_vectors(clustered_embeddings(np.random.default_rng(0), names, 8), names))
    rows = store.rows_of_ids(np.arange(40), ("vectors",))
    metric = fit_scatter(rows.vectors, rows.label_ids, 4).metric(0.5)
    known, columns = store.with_norms(metric.digest, metric.norms), []
    ((_, expected),) = RowReader(store, metric, ReadingLimits()).read([np.array([0, 2])], [])
    read = known.rows_of_ids
    monkeypatch.setattr(known, "rows_of_ids", lambda ids, of: columns.append(of) or read(ids, of))
    monkeypatch.setattr(metric, "whiten", None)
    reader = RowReader(known, metric, ReadingLimits())
    near = reader.near_in_metric(rows.vectors[:2].astype(np.float64), np.zeros(2))
    ((_, gathered),) = reader.read([np.array([0, 2])], [near])
    assert np.array_equal(gathered.norms, expected.norms)
    assert set(columns) == {("norms",), ("vectors", "norms")}
