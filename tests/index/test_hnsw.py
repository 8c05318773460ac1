"""The search graph: made, kept, mended, and as good as looking at everything."""

import logging
import sys

import numpy as np
import pytest

from lmm_classifier.core.errors import MissingExtraError
from lmm_classifier.index import hnsw as room
from lmm_classifier.index.hnsw import Graph, wants_graph
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.retriever import Retriever
from lmm_classifier.testing import clustered_rows, unit_rows
from tests.contracts.test_index import write

pytest.importorskip("faiss")

LABELS = [f"label {n % 11}" for n in range(400)]


def rows(count=400, seed=0):
    return clustered_rows(np.random.default_rng(seed), LABELS[:count], 32, 0.7)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "index", rows(), LABELS)


def file_in(folder):
    return folder / "derived" / "graph.faiss"


@pytest.mark.parametrize("rule", ["auto", "softmax", "top3_prototype", "gda"])
def test_a_list_as_long_as_the_corpus_votes_alike(folder, rule):
    """Every rule works unchanged: the same scores, familiarity and neighbours, left out or not."""
    index = ExactIndex.open(folder)
    queries = unit_rows(np.random.default_rng(1), 20, 32) / 3 + rows()[:20]
    out = [index.hashes[n] if n % 2 else None for n in range(20)]
    exact = Retriever(RetrievalConfig(index_path=folder, rule=rule, search="exact"), index)
    near = Retriever(RetrievalConfig(index_path=folder, rule=rule, search="ann"), index)
    one, other = exact.votes(queries, out), near.votes(queries, out)
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.familiarity, other.familiarity)
    np.testing.assert_array_equal(one.comparison.nearest_each(5)[0], other.comparison.nearest_each(5)[0])


def test_recall(tmp_path):
    """Of the ten nearest of 5,000 rows hardly one is missing from a list of 500."""
    corpus = clustered_rows(np.random.default_rng(0), [str(n % 100) for n in range(5000)], 64, 0.8)
    index = ExactIndex.open(write(tmp_path / "index", corpus))
    units = index.gallery.units  # in the order of their ids
    found = Graph(index).search(units[:100], 500)
    expected = np.argsort(-(units[:100] @ units.T), axis=1)[:, :10]
    assert np.mean([np.isin(best, mine).mean() for best, mine in zip(expected, found)]) > 0.999


def test_answers_do_not_depend_on_the_batch(folder):
    """One graph gives one answer, bit for bit, whatever the split of the queries."""
    retriever = Retriever(RetrievalConfig(index_path=folder, search="ann"), ExactIndex.open(folder))
    queries = unit_rows(np.random.default_rng(2), 30, 32)
    whole = retriever.votes(queries).scores
    for size in (1, 7):
        parts = [retriever.votes(queries[start : start + size]).scores for start in range(0, 30, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_it_is_kept_and_read_again(folder, monkeypatch):
    """The second to open the index makes nothing."""
    first = Graph(ExactIndex.open(folder), folder)
    monkeypatch.setattr(room, "_made", lambda units: pytest.fail("made again"))
    again = Graph(ExactIndex.open(folder), folder)
    np.testing.assert_array_equal(first.search(rows()[:9], 20), again.search(rows()[:9], 20))
    Graph(ExactIndex.open(folder), None, again)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "other vectors"])
def test_what_is_damaged_is_made_anew(folder, damage, caplog):
    """Whatever became of the file, the answers are those of the rows, and the file is sound again."""
    Graph(ExactIndex.open(folder), folder)
    data = bytearray(file_in(folder).read_bytes())
    if damage == "truncated":
        del data[-100:]
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "other vectors":
        data = data.replace(b'"stamp": "', b'"stamp": "x')
    file_in(folder).write_bytes({"empty": b"", "text": b"hello\nworld"}.get(damage, data))
    index = ExactIndex.open(folder)
    found = Graph(index, folder).search(rows()[:9], 400)
    assert (np.sort(found) == np.arange(400)).all()
    caplog.clear()
    Graph(index, folder)
    assert not caplog.records


def test_small_changes_are_followed_and_large_ones_make_a_new_one(tmp_path, monkeypatch):
    """New rows are found, rows that went are not, and equal contents keep their own rows."""
    hashes = [f"hash{n}" for n in range(400)]
    hashes[7] = hashes[6]
    units = rows()
    former = Graph(ExactIndex.open(write(tmp_path / "one", units, LABELS, hashes)))
    kept = np.r_[3:400]  # three went, and five came to the front
    more = np.concatenate([rows(5, seed=9), units[kept]])
    now = [f"new{n}" for n in range(5)] + [hashes[n] for n in kept]
    index = ExactIndex.open(write(tmp_path / "two", more, hashes=now))
    monkeypatch.setattr(room, "_made", lambda units: pytest.fail("made again"))
    found = Graph(index, None, former).search(more[:8], 400)
    assert [sorted(set(one.tolist()) - {-1}) for one in found] == [list(range(402))] * 8
    monkeypatch.undo()
    small = ExactIndex.open(write(tmp_path / "three", units[:50], hashes=hashes[:50]))
    assert len(Graph(small, None, former).kept.keys) == 50


def test_a_folder_that_cannot_be_written_does_not_matter(folder, monkeypatch):
    """The graph is made for this process alone."""
    monkeypatch.setattr(room.tempfile, "mkstemp", lambda **_: (_ for _ in ()).throw(OSError("read only")))
    assert Graph(ExactIndex.open(folder), folder).search(rows()[:1], 3).shape[0] == 1
    assert not file_in(folder).exists()


def test_who_wants_a_graph(monkeypatch, caplog):
    """`ann` always, `auto` from a million examples on; without the extra, an error or one warning."""
    assert wants_graph("ann", 5)
    assert not wants_graph("exact", 10**9)
    assert not wants_graph("auto", room.ANN_FROM - 1)
    assert wants_graph("auto", room.ANN_FROM)
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "faiss", None)
    room._say_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert not wants_graph("auto", room.ANN_FROM)
        assert not wants_graph("auto", room.ANN_FROM)
    assert len(caplog.records) == 1
    with pytest.raises(MissingExtraError, match=r"pip install 'lmm-classifier\[ann\]'"):
        wants_graph("ann", 5)


def test_a_part_of_the_labels_keeps_no_graph(folder):
    """What is made for some labels does not take the place of what is kept for all."""
    some = RetrievalConfig(index_path=folder, search="ann")
    votes = Retriever(some, ExactIndex.open(folder), ["label 1", "label 2"]).votes(rows()[:3])
    assert votes.scores.shape == (3, 2)
    assert not file_in(folder).exists()
