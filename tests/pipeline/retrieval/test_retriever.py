"""Retrieval scores with the stored calibration, or fits the same one where none is stored."""

import numpy as np
import pytest

from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.core.errors import CalibrationError, ConfigError
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.pipeline.thresholds import Thresholds
from lmm_classifier.testing import random_embeddings
from tests.helpers.vector_indexes import DIM, LABELS, write_clusters

RULES = ["auto", "knn", "top_k_mean", "prototype", "top_k_mean_prototype", "tip", "gda"]


@pytest.mark.parametrize("name", ["index.npz", "index"])
def test_a_stored_calibration_scores_as_the_fitted_one(tmp_path, name):
    """Scores, familiarity and temperature are the same, bit for bit."""
    path = write_clusters(tmp_path / name)
    config = RetrievalConfig(index_path=path)
    queries = QueryVectors.given(random_embeddings(np.random.default_rng(5), 9, DIM))
    fitted = Retriever.open(config, [ExactIndex.open(path)])
    calibrate_index(path)
    stored = Retriever.open(config, [ExactIndex.open(path)])
    assert fitted.stored is None
    assert stored.stored is not None
    np.testing.assert_array_equal(stored.score(queries).log_probabilities, fitted.score(queries).log_probabilities)
    np.testing.assert_array_equal(stored.score(queries).familiarity, fitted.score(queries).familiarity)
    assert stored.calibration.fits[0].rule.temperature == fitted.calibration.fits[0].rule.temperature


@pytest.mark.parametrize("labels", [["a"], ["a"] * 9, ["a", "b", "c"]], ids=["one", "one-label", "singles"])
def test_every_rule_answers_where_nothing_can_be_calibrated(tmp_path, labels):
    """Calibration is refused, but scores and familiarity are numbers."""
    path = write_clusters(tmp_path / "index.npz", labels)
    with pytest.raises(CalibrationError, match="needs two labels, and more than one image"):
        calibrate_index(path)
    for rule in RULES:
        retriever = Retriever.open(RetrievalConfig(rule=rule), [ExactIndex.open(path)])
        scored = retriever.score(QueryVectors.given(random_embeddings(np.random.default_rng(0), 3, DIM)))
        assert not np.isnan(scored.log_probabilities).any()
        assert np.isfinite(scored.familiarity).all()


def test_restricted_labels_are_fitted_among_themselves(tmp_path):
    """The other labels have no score, and as many known images as asked for are still familiar."""
    path = write_clusters(tmp_path / "index.npz")
    calibrate_index(path, request=CalibrationRequest(0.9, keep_known=0.9))
    index = ExactIndex.open(path)
    restricted = Retriever.open(RetrievalConfig(), [index], ["a", "c"])
    thresholds = Thresholds.resolve(RetrievalConfig(), restricted.calibration, restricted.stored)
    rows = np.flatnonzero(np.array(LABELS) != "b")
    scored = restricted.score(QueryVectors.given(index.vectors()[rows]), [index.hashes[row] for row in rows])
    assert scored.log_probabilities.shape == (100, 2)
    assert 0.85 <= (scored.familiarity >= thresholds.novelty.value).mean() <= 0.95
    assert len(restricted.index.vectors()) == 100
    assert restricted.stored.confidence_threshold is not None
    with pytest.raises(ConfigError, match="'z' not in the index"):
        Retriever.open(RetrievalConfig(), [index], ["z"])


def test_an_example_is_scored_without_itself(tmp_path):
    """It is less familiar then, and is not among its own neighbors, in either space."""
    index = ExactIndex.open(write_clusters(tmp_path / "index.npz"))
    retriever = Retriever.open(RetrievalConfig(), [index])
    own = QueryVectors.given(index.vectors()[:1])
    with_itself, without_itself = retriever.score(own), retriever.score(own, [index.hashes[0]])
    assert with_itself.familiarity[0] > without_itself.familiarity[0]
    assert with_itself.nearest[0] == pytest.approx(1, abs=1e-5)
    assert without_itself.nearest[0] < with_itself.nearest[0]
    assert without_itself.parts[0].scores.similarities.nearest(0, 1)[0][0] != 0


def test_batches_do_not_change_the_scores(tmp_path, monkeypatch):
    """Parts cover all queries in order; each row is the same as in one call."""
    index = ExactIndex.open(write_clusters(tmp_path / "index.npz"))
    retriever = Retriever.open(RetrievalConfig(), [index])
    queries = QueryVectors.given(random_embeddings(np.random.default_rng(5), 9, DIM))
    expected = retriever.score(queries).log_probabilities
    monkeypatch.setattr(type(index.gallery), "queries_at_once", 4)
    parts = list(retriever.score_in_batches(queries, [None] * 9))
    assert [part for part, _ in parts] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    np.testing.assert_array_equal(np.concatenate([scored.log_probabilities for _, scored in parts]), expected)


def test_a_former_retriever_changes_no_score(tmp_path):
    """What it knows about the metric is reused, and the scores are those without it."""
    path = write_clusters(tmp_path / "index.npz")
    config = RetrievalConfig(index_path=path)
    queries = QueryVectors.given(random_embeddings(np.random.default_rng(5), 9, DIM))
    former = Retriever.open(config, [ExactIndex.open(path)])
    again = Retriever.open(config, [ExactIndex.open(path)], former=former)
    np.testing.assert_array_equal(again.score(queries).log_probabilities, former.score(queries).log_probabilities)
