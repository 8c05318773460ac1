"""The search graph: it is made, stored, repaired, and nearly as good as the exact search."""

import logging
import sys

import numpy as np
import pytest

from lmm_classifier.core.errors import MissingExtraError
from lmm_classifier.index import hnsw
from lmm_classifier.index.hnsw import HnswGraph, wants_graph
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.testing import clustered_embeddings, example_fingerprint, random_embeddings
from tests.contracts.test_index import write

pytest.importorskip("faiss")

LABELS = [f"label {n % 11}" for n in range(400)]


def rows(count=400, seed=0):
    return clustered_embeddings(np.random.default_rng(seed), LABELS[:count], 32, 0.7)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "index", rows(), LABELS)


def file_in(folder):
    return folder / "derived" / f"graph-{example_fingerprint(32).space_id}.faiss"


OTHER_RULES = [pytest.param(rule, marks=pytest.mark.long) for rule in ("knn", "top_k_mean_prototype", "gda")]


@pytest.mark.parametrize("rule", ["auto", *OTHER_RULES])
def test_a_shortlist_of_all_rows_gives_the_exact_scores(folder, rule):
    """For every rule: the same scores, familiarity and neighbors, with and without rows left out.

    The rules are fitted through the search that answers, in other precisions; so the last digits differ.
    """
    index = Index.open(folder)
    queries = random_embeddings(np.random.default_rng(1), 20, 32) / 3 + rows()[:20]
    out = [index.hashes[n] if n % 2 else None for n in range(20)]
    exact = Retriever.open(RetrievalConfig(index_path=folder, rule=rule, search="exact"), [index])
    approximate = Retriever.open(RetrievalConfig(index_path=folder, rule=rule, search="ann"), [index])
    vectors = QueryVectors.given(queries)
    expected, actual = exact.score(vectors, out), approximate.score(vectors, out)
    np.testing.assert_allclose(actual.log_probabilities, expected.log_probabilities, atol=1e-4)
    np.testing.assert_allclose(actual.familiarity, expected.familiarity, atol=1e-4)
    actual_nearest, expected_nearest = (
        part.parts[0].scores.similarities.nearest_each(5)[0] for part in (actual, expected)
    )
    np.testing.assert_array_equal(actual_nearest, expected_nearest)


def test_recall_is_nearly_one(tmp_path):
    """A shortlist of 500 of 5,000 rows holds nearly all of the ten nearest."""
    dataset = clustered_embeddings(np.random.default_rng(0), [str(n % 100) for n in range(5000)], 64, 0.8)
    index = Index.open(write(tmp_path / "index", dataset))
    embeddings = index.gallery.embeddings  # in the order of their ids
    shortlists = HnswGraph(index).search(embeddings[:100], 500)
    expected = np.argsort(-(embeddings[:100] @ embeddings.T), axis=1)[:, :10]
    assert np.mean([np.isin(nearest, rows).mean() for nearest, rows in zip(expected, shortlists)]) > 0.999


@pytest.mark.long
def test_scores_do_not_depend_on_the_batch(folder):
    """They are equal bit for bit."""
    retriever = Retriever.open(RetrievalConfig(index_path=folder, search="ann"), [Index.open(folder)])
    queries = random_embeddings(np.random.default_rng(2), 30, 32)
    whole = retriever.score(QueryVectors.given(queries)).log_probabilities
    for size in (1, 7):
        parts = [
            retriever.score(QueryVectors.given(queries[start : start + size])).log_probabilities
            for start in range(0, 30, size)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_the_graph_is_stored_and_read_again(folder, monkeypatch):
    """The second process that opens the index makes none."""
    first = HnswGraph(Index.open(folder), folder)
    monkeypatch.setattr(hnsw, "_made", lambda embeddings: pytest.fail("made again"))
    again = HnswGraph(Index.open(folder), folder)
    np.testing.assert_array_equal(first.search(rows()[:9], 20), again.search(rows()[:9], 20))
    HnswGraph(Index.open(folder), None, again)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "other vectors"])
def test_a_damaged_graph_is_made_again(folder, damage, caplog):
    """The results are those of the rows, and the file is sound then."""
    HnswGraph(Index.open(folder), folder)
    data = bytearray(file_in(folder).read_bytes())
    if damage == "truncated":
        del data[-100:]
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "other vectors":
        data = data.replace(b'"stamp": "', b'"stamp": "x')
    file_in(folder).write_bytes({"empty": b"", "text": b"hello\nworld"}.get(damage, data))
    index = Index.open(folder)
    nearest = HnswGraph(index, folder).search(rows()[:9], 400)
    assert (np.sort(nearest) == np.arange(400)).all()
    caplog.clear()
    HnswGraph(index, folder)
    assert not caplog.records


def test_only_large_changes_make_a_new_graph(tmp_path, monkeypatch):
    """After small ones, added rows are found, removed rows are not, and equal contents have their own rows."""
    hashes = [f"hash{n}" for n in range(400)]
    hashes[7] = hashes[6]
    embeddings = rows()
    former = HnswGraph(Index.open(write(tmp_path / "one", embeddings, LABELS, hashes)))
    unchanged = np.r_[3:400]  # three rows are removed, and five are added at the front
    changed = np.concatenate([rows(5, seed=9), embeddings[unchanged]])
    current_hashes = [f"new{n}" for n in range(5)] + [hashes[n] for n in unchanged]
    index = Index.open(write(tmp_path / "two", changed, hashes=current_hashes))
    monkeypatch.setattr(hnsw, "_made", lambda embeddings: pytest.fail("made again"))
    nearest = HnswGraph(index, None, former).search(changed[:8], 400)
    assert [sorted(set(row.tolist()) - {-1}) for row in nearest] == [list(range(402))] * 8
    monkeypatch.undo()
    small = Index.open(write(tmp_path / "three", embeddings[:50], hashes=hashes[:50]))
    assert len(HnswGraph(small, None, former).stored.keys) == 50


def test_a_read_only_folder_is_no_problem(folder, monkeypatch):
    """The graph is made for this process only."""
    monkeypatch.setattr(hnsw.tempfile, "mkstemp", lambda **_: (_ for _ in ()).throw(OSError("read only")))
    assert HnswGraph(Index.open(folder), folder).search(rows()[:1], 3).shape[0] == 1
    assert not file_in(folder).exists()


def test_when_a_graph_is_used(monkeypatch, caplog):
    """`ann`: always; `auto`: from a million examples on. Without the extra there is an error or one warning."""
    assert wants_graph("ann", 5)
    assert not wants_graph("exact", 10**9)
    assert not wants_graph("auto", hnsw.ANN_FROM - 1)
    assert wants_graph("auto", hnsw.ANN_FROM)
    monkeypatch.setattr(hnsw, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "faiss", None)
    hnsw._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert not wants_graph("auto", hnsw.ANN_FROM)
        assert not wants_graph("auto", hnsw.ANN_FROM)
    assert len(caplog.records) == 1
    with pytest.raises(MissingExtraError, match=r"pip install 'lmm-classifier\[ann\]'"):
        wants_graph("ann", 5)


def test_an_index_of_some_labels_stores_no_graph(folder):
    """Its graph must not replace the one of all labels."""
    some = RetrievalConfig(index_path=folder, search="ann")
    retrieved = Retriever.open(some, [Index.open(folder)], ["label 1", "label 2"]).score(QueryVectors.given(rows()[:3]))
    assert retrieved.log_probabilities.shape == (3, 2)
    assert not file_in(folder).exists()
