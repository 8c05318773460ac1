"""Retrieval with one encoder: what is reused after an edit, when the search graph is used, and what is left out."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.index import hnsw
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors import metric as metric_module
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.retrieval import encoder_retriever as module
from lmm_classifier.pipeline.retrieval.encoder_retriever import EncoderRetriever
from lmm_classifier.testing import clustered_embeddings, random_embeddings
from tests.helpers.vector_indexes import DIM, LABELS, write_clusters, write_vectors

QUERIES = random_embeddings(np.random.default_rng(3), 6, DIM)
CONFIG = RetrievalConfig(search="exact")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_clusters(tmp_path_factory.mktemp("clusters") / "index")


@pytest.fixture(scope="module")
def index(path):
    return Index.open(path)


@pytest.fixture(scope="module")
def fit(index):
    return fit_by_leave_one_out(CONFIG, [index])[0].fits[0]


def opened(index, fit, former=None, config=CONFIG):
    return EncoderRetriever.open(config, index, fit, former)


def assert_same_answers(found, expected, left_out=()):
    """Bit for bit: scores, familiarity, the nearest similarity and the nearest rows."""
    actual, wanted = found.score(QUERIES, left_out), expected.score(QUERIES, left_out)
    for name in ("log_probabilities", "familiarity", "nearest"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(wanted, name))
    for part, other in zip(actual.similarities.nearest_each(5), wanted.similarities.nearest_each(5)):
        np.testing.assert_array_equal(part, other)


@pytest.fixture
def edited(index, fit, tmp_path):
    """The index in another order, with three examples removed and two added; and the calibration it has then."""
    kept = np.random.default_rng(1).permutation(len(index))[3:]
    added = random_embeddings(np.random.default_rng(2), 2, DIM)
    vectors = np.concatenate([index.vectors()[kept[:70]], added, index.vectors()[kept[70:]]])
    labels = [*(LABELS[row] for row in kept[:70]), "a", "c", *(LABELS[row] for row in kept[70:])]
    hashes = [*(index.hashes[row] for row in kept[:70]), "e" * 64, "f" * 64, *(index.hashes[row] for row in kept[70:])]
    former_row = np.concatenate([kept[:70], [-1, -1], kept[70:]])
    known = np.where(former_row < 0, np.nan, fit.familiarity.knn_distance[former_row])
    incomplete = replace(fit, familiarity=replace(fit.familiarity, knn_distance=known), norms=None)
    return Index.open(write_vectors(tmp_path / "edited", labels, vectors, hashes)), incomplete


@pytest.fixture
def mapped(monkeypatch):
    """How many rows were mapped to the metric, call by call."""
    counts, original = [], metric_module.directions
    monkeypatch.setattr(metric_module, "directions", lambda rows: counts.append(len(rows)) or original(rows))
    return counts


@pytest.mark.parametrize("project_from", [10**9, 0], ids=["mapped", "projected"])
def test_after_an_edit_only_added_examples_are_mapped(index, fit, edited, mapped, monkeypatch, project_from):
    """And every answer is that of a fresh opening, whether a second matrix is held or only its norms."""
    monkeypatch.setattr(metric_module, "PROJECT_FROM", project_from)
    former, (current, incomplete) = opened(index, fit), edited
    assert mapped == [150]
    fresh = opened(current, incomplete)
    assert mapped == [150, 149]
    again = opened(current, incomplete, former)
    assert mapped == [150, 149, 2]
    assert (again.metric_gallery.projected is None) == (project_from > 0)
    assert_same_answers(again, fresh)
    assert_same_answers(opened(index, fit, former), former)
    assert mapped in ([150, 149, 2], [150, 149, 2, 0])


def test_another_metric_is_mapped_anew(index, fit, mapped):
    """A former retriever of another rule has nothing to reuse."""
    other = replace(fit, rule=fit_by_leave_one_out(RetrievalConfig(power_normalize=True), [index])[0].fits[0].rule)
    former, fresh = opened(index, other), opened(index, fit)
    assert not other.rule.metric.equals(fit.rule.metric)
    mapped.clear()
    assert_same_answers(opened(index, fit, former), fresh)
    assert mapped == [150]


def test_a_former_gallery_of_another_kind_is_not_reused(index, fit, monkeypatch):
    """An index that grew to where the metric is projected, or shrank again, answers as a fresh one."""
    small = opened(index, fit)
    monkeypatch.setattr(metric_module, "PROJECT_FROM", 0)
    large = opened(index, fit)
    assert_same_answers(opened(index, fit, small), large)
    monkeypatch.undo()
    assert_same_answers(opened(index, fit, large), small)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_left_out_rows_do_not_count(index, fit, count):
    """Each query has its own, and those that have none are compared with all."""
    retriever = opened(index, fit)
    whole = retriever.score(QUERIES, [])
    nearest = whole.similarities.nearest_each(count)[0]
    left_out = [np.sort(rows) if query % 2 else np.empty(0, np.int64) for query, rows in enumerate(nearest)]
    found = retriever.score(QUERIES, left_out)
    cosines = whole.similarities.nearest_each(count + 1)[1]
    np.testing.assert_array_equal(found.nearest[1::2], cosines[1::2, count])
    np.testing.assert_array_equal(found.nearest[::2], cosines[::2, 0])
    np.testing.assert_array_equal(found.log_probabilities[::2], whole.log_probabilities[::2])


def test_where_all_examples_are_left_out_nothing_is_near(index, fit):
    """No label is possible, and nothing is less familiar."""
    found = opened(index, fit).score(QUERIES[:1], [np.arange(len(index))])
    assert found.nearest.tolist() == [-np.inf]
    assert not np.isfinite(found.log_probabilities).any()
    assert found.familiarity.tolist() == [-4.0]


def test_scores_are_read_at_the_temperature(index, fit):
    """Twice the temperature halves the log-odds of labels."""
    scores = opened(index, fit).score(QUERIES, []).log_probabilities
    warm = replace(fit, rule=replace(fit.rule, temperature=2 * fit.rule.temperature))
    halved = opened(index, warm).score(QUERIES, []).log_probabilities
    np.testing.assert_allclose(np.diff(halved), np.diff(scores) / 2, rtol=1e-9)
    np.testing.assert_allclose(np.exp(halved).sum(axis=1), 1)


@dataclass
class RecordedGraph:
    """Finds given rows for every query, and records what it is asked."""

    rows: np.ndarray
    asked: list = field(default_factory=list)

    def search(self, queries, count):
        self.asked.append((queries, count))
        return np.tile(self.rows[:count], (len(queries), 1))


def test_the_graph_is_asked_for_as_many_rows_more_as_may_be_left_out(index, fit):
    """So that 500 remain, as the setting `retrieval.search` says; it is given directions."""
    graph = RecordedGraph(np.arange(len(index)))
    retriever = replace(opened(index, fit), graph=graph)
    retriever.score(QUERIES * 3, [])
    retriever.score(QUERIES, [np.arange(query) for query in range(6)])
    (queries, without), (_, with_spare) = graph.asked
    np.testing.assert_allclose(queries, QUERIES, atol=1e-6)
    assert (without, with_spare) == (500, 505)


def test_a_graph_that_finds_all_rows_answers_as_the_exact_search(index, fit):
    """With and without rows left out; of one that finds little, the most likely labels are still compared."""
    exact = opened(index, fit)
    left_out = [np.arange(query, 60, 7) for query in range(6)]
    for found in (np.arange(len(index)), np.array([-1])):
        retriever = replace(exact, graph=RecordedGraph(found))
        assert_same_answers(retriever, exact)
        assert_same_answers(retriever, exact, left_out)


def ann(path):
    return RetrievalConfig(index_path=path, search="ann")


def graph_files(folder):
    return sorted(file.name for file in folder.rglob("*.faiss"))


def test_the_graph_is_used_from_its_size_on(index, fit, path, monkeypatch):
    """Exact below it, or where the setting says so; the answers are the same."""
    pytest.importorskip("faiss")
    auto, exact = RetrievalConfig(index_path=path), RetrievalConfig(index_path=path, search="exact")
    assert opened(index, fit, config=auto).graph is None
    monkeypatch.setattr(hnsw, "ANN_FROM", len(index) + 1)
    assert opened(index, fit, config=auto).graph is None
    monkeypatch.setattr(hnsw, "ANN_FROM", len(index))
    searched = opened(index, fit, config=auto)
    assert searched.graph is not None
    assert opened(index, fit, config=exact).graph is None
    assert opened(index, fit, config=ann(path)).graph is not None
    assert_same_answers(searched, opened(index, fit))


def test_the_graph_of_a_durable_index_is_stored(fit, tmp_path, caplog, monkeypatch):
    """One of some labels is not, nor one of an index in a file; these cause no warning either."""
    pytest.importorskip("faiss")
    folder, file = write_clusters(tmp_path / "index"), write_clusters(tmp_path / "index.npz")
    of_two = Index.open(folder).only(["a", "b"])
    opened(of_two, fit_by_leave_one_out(CONFIG, [of_two])[0].fits[0], config=ann(folder))
    opened(Index.open(file), fit, config=ann(file))
    assert graph_files(tmp_path) == []
    assert not [record for record in caplog.records if record.levelname != "INFO"]
    opened(Index.open(folder), fit, config=ann(folder))
    assert len(graph_files(folder)) == 1
    monkeypatch.setattr(hnsw, "_made", lambda _: pytest.fail("made again"))
    opened(Index.open(folder), fit, config=ann(folder))


def test_the_graph_of_a_former_retriever_is_reused(index, fit, edited, monkeypatch, tmp_path):
    """Also where the metric is another: the graph is of the space of the index."""
    pytest.importorskip("faiss")
    other = replace(fit, rule=fit_by_leave_one_out(RetrievalConfig(power_normalize=True), [index])[0].fits[0].rule)
    config = ann(tmp_path / "nowhere.npz")
    former = opened(index, other, config=config)
    monkeypatch.setattr(hnsw, "_made", lambda _: pytest.fail("made again"))
    assert_same_answers(opened(edited[0], edited[1], former, config), opened(*edited))
    assert_same_answers(opened(index, fit, former, config), opened(index, fit))


def test_a_shortlist_loses_little(tmp_path, monkeypatch):
    """With few rows found of many labels, the best label is nearly always the same."""
    pytest.importorskip("faiss")
    labels = [f"{number % 30}" for number in range(300)]
    rows = clustered_embeddings(np.random.default_rng(0), labels, DIM, 0.5)
    index = Index.open(write_vectors(tmp_path / "index.npz", labels, rows))
    fit = fit_by_leave_one_out(CONFIG, [index])[0].fits[0]
    monkeypatch.setattr(module, "SHORTLIST", 20)
    exact, searched = opened(index, fit), opened(index, fit, config=ann(tmp_path / "index.npz"))
    own = [np.array([row]) for row in range(100)]
    best = [part.score(rows[:100], own).log_probabilities.argmax(axis=1) for part in (exact, searched)]
    assert (best[0] == best[1]).mean() > 0.95
