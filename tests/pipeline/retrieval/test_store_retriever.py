"""Retrieval through a store of rows: calibrate, classify and describe, as with all rows in memory."""

import numpy as np
import pytest

from lmm_classifier import CalibrationRequest, HybridClassifier, PipelineConfig, calibrate_index, describe_index
from lmm_classifier.calibration.loading import Loaded
from lmm_classifier.core.errors import CalibrationError, ConfigError
from lmm_classifier.index.formats import read_index, write_calibration
from lmm_classifier.index.opening import open_searched
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrating.store_calibration import state_of_stores
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.pipeline.retrieval.store_retriever import StoreRetriever
from lmm_classifier.testing import clustered_embeddings
from tests.helpers.vector_indexes import write_encoders

LABELS = [f"label {number:02}" for number in range(20) for _ in range(30)]


def drawn():
    rows = clustered_embeddings(np.random.default_rng(0), [label for label in LABELS for _ in range(2)], 24, spread=1.1)
    return rows[::2], rows[1::2]


def config_of(path, search="store", **retrieval):
    config = PipelineConfig.preset("vectors")
    config.retrieval.index_path = path
    config.retrieval.search = search
    for name, value in retrieval.items():
        setattr(config.retrieval, name, value)
    return config


@pytest.fixture(scope="module", params=["index", pytest.param("index.lance", marks=pytest.mark.long)])
def path(request, tmp_path_factory):
    """Return a durable index, and a table, of the same rows."""
    if request.param == "index.lance":
        pytest.importorskip("lance", reason="needs lmm-classifier[lance]")
    path = tmp_path_factory.mktemp("stored") / request.param
    Index.from_vectors(drawn()[0], LABELS, [f"{number:04}.jpg" for number in range(600)]).save(path)
    calibrate_index(path, config_of(path), CalibrationRequest(target_precision=0.9))
    return path


def test_answers_are_those_of_a_comparison_with_all_rows(path):
    """The same labels, with nearly the same scores, familiarity and the same evidence."""
    images = drawn()[1]
    with HybridClassifier(config_of(path)) as stored, HybridClassifier(config_of(path, "exact")) as exact:
        found, expected = stored.classify_vectors(images), exact.classify_vectors(images)
        assert "calibration of" in stored.thresholds.confidence.source
    assert np.mean([one.label == other.label for one, other in zip(found, expected)]) > 0.98
    best = [(one.candidates[0], other.candidates[0]) for one, other in zip(found, expected)]
    assert np.mean([one.label == other.label for one, other in best]) > 0.99
    assert np.abs([one.score - other.score for one, other in best]).max() < 0.1
    assert np.abs([one.familiarity - other.familiarity for one, other in zip(found, expected)]).mean() < 0.2
    assert [one.similarity for one in found] == pytest.approx([other.similarity for other in expected])
    for one, other in best[:50]:
        if one.label == other.label:
            assert [n.example for n in one.neighbors] == [n.example for n in other.neighbors]
            assert {n.example.label for n in one.neighbors} == {one.label}


def test_the_guarantee_holds(path):
    """Of the accepted answers about new images, as many are right as was asked for."""
    images = drawn()[1]
    with HybridClassifier(config_of(path)) as classifier:
        results = classifier.classify_vectors(images)
    accepted = [
        (result.label, label) for result, label in zip(results, LABELS) if result.decision.reason == "confident"
    ]
    assert len(accepted) > 300
    assert np.mean([one == other for one, other in accepted]) > 0.88


def test_it_is_described(path):
    """The number of images of each label, and the calibration with its rule and comparison."""
    described = describe_index(path, config_of(path))
    assert described["labels"] == {f"label {number:02}": 30 for number in range(20)}
    assert described["calibration"]["state"] == "loaded"
    assert "search=store 64 labels" in described["calibration"]["rule"]
    assert described["stale"] == []


def test_it_belongs_to_its_comparison(path):
    """With all rows in memory it is stale, and the reason names both comparisons."""
    described = describe_index(path, config_of(path, "exact"))
    assert described["calibration"]["state"] == "stale"
    assert "search=store" in described["calibration"]["reason"]


def test_thresholds_alone_are_set_without_a_fit(path, monkeypatch):
    """Another precision takes the held-out results that are stored."""
    monkeypatch.setattr(
        "lmm_classifier.pipeline.calibrating.store_calibration.fit_through_stores",
        lambda *_, **__: pytest.fail("fitted"),
    )
    report = calibrate_index(path, config_of(path), CalibrationRequest(target_precision=0.9))
    assert report.predictions is None
    assert report.guarantee is not None


@pytest.mark.parametrize("request_", [{"group_by": "folder"}, {"max_calls": 5}], ids=["groups", "reranker"])
def test_what_needs_all_rows_is_refused_by_name(path, request_):
    """The message says what to do."""
    (name,) = request_
    with pytest.raises(CalibrationError, match=rf"{name} need all examples.*retrieval\.search: exact"):
        calibrate_index(path, config_of(path), CalibrationRequest(**request_))


@pytest.mark.parametrize("rule", ["tip", "knn"])
def test_rules_over_rows_of_any_label_are_refused_by_name(path, rule):
    """A store answers rules over labels."""
    with pytest.raises(ConfigError, match=rf"retrieval\.rule: {rule} .*retrieval\.search: exact"):
        HybridClassifier(config_of(path, rule=rule))


def test_some_labels_and_new_images_are_refused_by_name(path):
    """They fit the rule anew, to all rows."""
    config = config_of(path)
    config.labels = ["label 00", "label 01"]
    with pytest.raises(ConfigError, match="labels.*search: exact"):
        HybridClassifier(config)


def test_another_version_of_the_rows_makes_it_stale(path, tmp_path, caplog):
    """A calibration of other rows is not used, and a message says so."""
    rows = drawn()[0]
    assert describe_index(path, config_of(path))["calibration"]["state"] == "loaded"
    stored = read_index(path).calibration
    other = tmp_path / "other"
    Index.from_vectors(rows[:-1], LABELS[:-1]).save(other)
    write_calibration(other, read_index(other), stored)
    described = describe_index(other, config_of(other))["calibration"]
    assert described["state"] == "stale"
    assert "another version of the rows" in described["reason"]
    with HybridClassifier(config_of(other)) as classifier:
        assert classifier.retriever.stored is None
    assert "another version of the rows" in caplog.text


def test_content_is_left_out(path):
    """Examples with the content of the query do not count."""
    with HybridClassifier(config_of(path)) as classifier:
        index, retriever = classifier.index, classifier.retriever
        assert len(index.examples) == len(index) == 600
        block = index.store.rows_of_ids(np.array([0, 30]), ("contents", "vectors"))
        assert [example.label for example in index.examples[:2]] == ["label 00", "label 00"]
        known = retriever.score(QueryVectors.given(block.vectors))
        left_out = retriever.score(QueryVectors.given(block.vectors), [block.contents[0], None])
    assert known.nearest == pytest.approx([1, 1])
    assert left_out.nearest[0] < 0.99
    assert left_out.nearest[1] == pytest.approx(1)
    assert left_out.familiarity[0] < known.familiarity[0]


def test_calibrate_stores_the_norms_that_answers_read(path, monkeypatch):
    """Of one metric: those of a former one go. A table keeps its version, so the calibration is not stale."""
    if path.suffix != ".lance":
        pytest.skip("only a table has columns")
    from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore

    def columns():
        return [name for name in LanceRowStore.open(str(path))._dataset.schema.names if name.startswith("norm_")]

    former, version = columns(), LanceRowStore.open(str(path)).version
    assert len(former) == 1
    with monkeypatch.context() as patch, HybridClassifier(config_of(path)) as classifier:
        patch.setattr("lmm_classifier.neighbors.metric.WithinClassMetric.norms", None)
        assert len(classifier.classify_vectors(drawn()[1][:20])) == 20
        assert "calibration of" in classifier.thresholds.confidence.source
    LanceRowStore.open(str(path)).with_norms("another", lambda rows: np.ones(len(rows)))
    assert len(columns()) == 1
    assert columns() != former
    calibrate_index(path, config_of(path), CalibrationRequest(target_precision=0.9), reset=True)
    assert columns() == former
    assert LanceRowStore.open(str(path)).version == version


SEVERAL = [f"label {number:02}" for number in range(12) for _ in range(25)]


def drawn_twice(part):
    """Vectors of two encoders: each tells other labels apart, and both are needed."""
    draw, base = np.random.default_rng((5, part)), np.random.default_rng(6)
    numbers = np.array([int(label[-2:]) for label in SEVERAL])
    each = []
    for kind, width in ((numbers // 3, 16), (numbers % 3 + 3 * (numbers // 6), 20)):
        centers = base.normal(size=(kind.max() + 1, width))
        rows = centers[kind] + 0.8 * draw.normal(size=(len(kind), width)) + 0.2 * base.normal(size=(12, width))[numbers]
        each.append((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
    return each


@pytest.fixture(scope="module", params=["index", pytest.param("index.lance", marks=pytest.mark.long)])
def several(request, tmp_path_factory):
    """An index with the vectors of two encoders, and a table of it."""
    if request.param == "index.lance":
        pytest.importorskip("lance", reason="needs lmm-classifier[lance]")
    folder = tmp_path_factory.mktemp("several")
    path = write_encoders(folder / "index", SEVERAL, drawn_twice(0))
    if request.param == "index.lance":
        Index.open(path).save(folder / request.param)
    return folder / request.param


@pytest.mark.parametrize("cascade", [pytest.param(False, marks=pytest.mark.long), True], ids=["fused", "cascade"])
def test_several_encoders_are_fused_as_with_all_rows(several, cascade):
    """The same weights and stages, the same answers, and the same encoders asked; the calibration is stored."""
    config, exactly = (config_of(several, search, cascade=cascade) for search in ("store", "exact"))
    report = calibrate_index(several, config, CalibrationRequest(target_precision=0.9))
    found, indexes = report.calibration, open_searched(config.retrieval)
    assert isinstance(state_of_stores(indexes, config.retrieval), Loaded)
    assert len(found.ladders) == 5
    stored, exact = (
        Retriever.open(config.retrieval, indexes),
        Retriever.open(exactly.retrieval, Index.open_each(several)),
    )
    assert stored.stored is not None
    expected = exact.calibration
    assert len(stored.calibration.cascade.stages) == len(expected.cascade.stages) == 1 + cascade
    for one, other in zip(stored.calibration.cascade.stages, expected.cascade.stages):
        assert one.encoders == other.encoders
        np.testing.assert_allclose(one.fusion.weights, other.fusion.weights, atol=0.03)
    new = QueryVectors.given(*drawn_twice(1))
    of_store, of_all = stored.score(new), exact.score(new)
    assert (of_store.log_probabilities.argmax(axis=1) == of_all.log_probabilities.argmax(axis=1)).mean() > 0.99
    np.testing.assert_allclose(of_store.probabilities.max(axis=1), of_all.probabilities.max(axis=1), atol=0.05)
    assert (of_store.stage == of_all.stage).mean() > 0.95
    right = np.array(SEVERAL) == np.array(stored.index.label_names)[of_store.log_probabilities.argmax(axis=1)]
    alone = StoreRetriever.open(indexes[0], found.fits[0]).score(drawn_twice(1)[0], [])
    assert (
        right.mean()
        > 0.1 + (np.array(SEVERAL) == np.array(stored.index.label_names)[alone.log_probabilities.argmax(axis=1)]).mean()
    )


def test_examples_left_out_do_not_count_for_any_encoder(several):
    """Leave-one-out by content: an example does not find itself."""
    retriever = Retriever.open(config_of(several).retrieval, open_searched(config_of(several).retrieval))
    vectors = QueryVectors.given(*(rows[:20] for rows in drawn_twice(0)))
    hashes = [f"{number:064x}" for number in range(20)]
    assert (retriever.score(vectors).nearest > 0.9999).all()
    assert (retriever.score(vectors, hashes).nearest < 0.9999).all()


@pytest.mark.long
def test_other_encoders_than_those_of_the_calibration_make_it_stale(several, caplog):
    """One alone, or another order."""
    config = config_of(several)
    calibrate_index(several, config)
    indexes = open_searched(config.retrieval)
    retriever = Retriever.open(config.retrieval, indexes[1:])
    assert retriever.stored is None
    assert "The calibration is of the encoders" in caplog.text
