"""Opening retrieval: which calibration is used, for which labels, what is reused, and which encoder is first."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out, fusion_fit
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.embeddings.whitening import BlockWhiteningFitter
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors import metric as metric_module
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.retrieval import retriever as module
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.testing import clustered_embeddings, random_embeddings
from tests.helpers.vector_indexes import DIM, write_encoders

LABELS = [label for label in "abcde" for _ in range(8)]
CONFIG = RetrievalConfig(rule="top_k_mean")


def vectors_of(seed, dim=DIM, spread=1.0):
    return clustered_embeddings(np.random.default_rng(seed), LABELS, dim, spread)


def noise(seed):
    return random_embeddings(np.random.default_rng(seed), len(LABELS), 6)


EACH = [noise(1), vectors_of(2), vectors_of(3, 9)]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_encoders(tmp_path_factory.mktemp("opening") / "index.npz", LABELS, EACH)


@pytest.fixture(scope="module")
def indexes(path):
    return Index.open_each(path)


@cache
def fitted(rule, cascade, *indexes):
    return fit_by_leave_one_out(RetrievalConfig(rule=rule, cascade=cascade), indexes)


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """The indexes and further vectors that every fit on opening was given; the same fit is made once."""
    calls = []

    def fit(config, indexes, other_vectors, progress, sparse):
        assert sparse
        calls.append((indexes, other_vectors))
        if any(vectors is not None for vectors in other_vectors):
            return fit_by_leave_one_out(config, indexes, other_vectors=other_vectors, progress=progress)
        return fitted(config.rule, config.cascade, *indexes)

    monkeypatch.setattr(module, "fit_by_leave_one_out", fit)
    return calls


@pytest.fixture
def mapped(monkeypatch):
    """How many rows were mapped to a metric, call by call."""
    counts, original = [], metric_module.directions
    monkeypatch.setattr(metric_module, "directions", lambda rows: counts.append(len(rows)) or original(rows))
    return counts


def assert_same_scores(found, expected, vectors=EACH):
    actual, wanted = found.score(QueryVectors.given(*vectors)), expected.score(QueryVectors.given(*vectors))
    for name in ("log_probabilities", "familiarity", "stage", "strongest", "nearest"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(wanted, name))


def test_a_stored_calibration_saves_the_fit(tmp_path, calls):
    """For all labels; for some of them the rules are fitted, and the stored calibration is still known."""
    path = write_encoders(tmp_path / "index.npz", LABELS, EACH[1:])
    calibrate_index(path, request=CalibrationRequest(0.9))
    indexes = Index.open_each(path)
    every = Retriever.open(RetrievalConfig(), indexes)
    assert calls == []
    assert every.calibration.cascade.to_json() == every.stored.cascade.to_json()
    some = Retriever.open(RetrievalConfig(), indexes, ["a", "d"])
    assert len(calls) == 1
    assert some.stored.cascade.to_json() == every.stored.cascade.to_json()
    assert some.calibration.fits[0].rule.temperature != every.calibration.fits[0].rule.temperature


def test_some_labels_answer_as_an_index_of_only_these(indexes):
    """Whatever else the index holds."""
    some = Retriever.open(CONFIG, indexes, ["a", "d"])
    assert list(some.index.label_names) == ["a", "d"]
    assert_same_scores(some, Retriever.open(CONFIG, [index.only(["a", "d"]) for index in indexes]))


def test_examples_of_other_labels_join_where_a_transform_was_fitted_to_them(tmp_path, calls):
    """A whitening without the held-out example is fitted to all others; without a transform there is no need."""
    rng = np.random.default_rng(0)
    wide = np.hstack([rng.normal(size=(len(LABELS), 16)), np.full((len(LABELS), 1), 0.5)]).astype(np.float32)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    whitening = BlockWhiteningFitter((8, 8), (1.0, 1.0), 0.5).fit(lambda: [wide])
    path = write_encoders(tmp_path / "index.npz", LABELS, [wide], transforms=[whitening])
    (index,) = Index.open_each(path)
    Retriever.open(CONFIG, [index], ["b", "c"])
    ((others,),) = [given for _, given in calls]
    np.testing.assert_array_equal(others, index.vectors()[np.isin(LABELS, ["a", "d", "e"])])
    calls.clear()
    Retriever.open(CONFIG, [index])
    plain = Index.open(write_encoders(tmp_path / "plain.npz", LABELS, EACH[1:2]))
    Retriever.open(CONFIG, [plain], ["b", "c"])
    assert [given for _, given in calls] == [[None], [None]]


def test_a_former_retriever_of_the_same_encoders_saves_work(indexes, mapped):
    """Each encoder reuses its own part; a former one of more or fewer encoders is not used. No answer changes."""
    former = Retriever.open(CONFIG, indexes)
    mapped.clear()
    fresh = Retriever.open(CONFIG, indexes)
    work = sum(mapped)
    mapped.clear()
    assert_same_scores(Retriever.open(CONFIG, indexes, former=former), fresh)
    assert sum(mapped) == work - 3 * len(LABELS)
    fewer = Retriever.open(CONFIG, indexes[1:2])
    assert_same_scores(Retriever.open(CONFIG, indexes, former=fewer), fresh)
    assert_same_scores(Retriever.open(CONFIG, indexes[1:2], former=former), fewer, EACH[1:2])


@pytest.fixture
def with_steps(indexes, monkeypatch):
    """Return a function that opens retrieval where the fit gave a cascade that asks these encoders."""

    def opened(steps, **settings):
        calibration, predictions = fitted(CONFIG.rule, False, *indexes)
        cascade = fusion_fit(indexes[0].label_counts, predictions, equal=True).cascade(steps)[0]
        given = replace(calibration, cascade=cascade)
        monkeypatch.setattr(module, "fit_by_leave_one_out", lambda *_, **__: (given, predictions))
        return Retriever.open(CONFIG.model_copy(update=settings), indexes)

    return opened


def test_an_encoder_that_was_dropped_is_not_asked(with_steps):
    """The similarity is that of the first encoder that is asked, unless its threshold was set by hand."""
    fused = with_steps([(2, 1)])
    assert (fused.first_encoders, fused.later_encoders, fused.similarity_encoder) == ((2, 1), (), 2)
    scored = fused.score(QueryVectors.given(*EACH))
    assert sorted(scored.parts) == [1, 2]
    np.testing.assert_array_equal(scored.nearest, scored.parts[2].scores.nearest)
    by_hand = with_steps([(2, 1)], open_set_threshold=0.5)
    assert (by_hand.first_encoders, by_hand.later_encoders, by_hand.similarity_encoder) == ((2, 1, 0), (), 0)
    again = by_hand.score(QueryVectors.given(*EACH))
    np.testing.assert_array_equal(again.nearest, fused.encoders[0].score(EACH[0], []).nearest)
    np.testing.assert_array_equal(again.log_probabilities, scored.log_probabilities)


def test_the_encoders_of_later_stages_are_the_later_ones(with_steps):
    """Each once, in the order in which they are asked; one whose similarity is given is asked at first."""
    steps = [(2,), (2, 0), (2, 0, 1)]
    retriever = with_steps(steps)
    assert (retriever.first_encoders, retriever.later_encoders, retriever.similarity_encoder) == ((2,), (0, 1), 2)
    by_hand = with_steps(steps, open_set_threshold=0.5)
    assert (by_hand.first_encoders, by_hand.later_encoders, by_hand.similarity_encoder) == ((2, 0), (1,), 0)


def test_the_examples_are_those_of_the_first_encoder(indexes):
    """As configured, also where another order is asked; the names follow that order."""
    retriever = Retriever.open(CONFIG, [indexes[2], indexes[0]])
    assert retriever.index is indexes[2]
    assert len(retriever.names) == len(set(retriever.names)) == 2


def test_rows_are_left_out_of_every_encoder(indexes):
    """An example is compared with all others, and an image that is no example with all; the same in batches."""
    retriever = Retriever.open(CONFIG, indexes)
    vectors = QueryVectors.given(*(part[:5] for part in EACH))
    leave_out = [indexes[0].hashes[0], None, "unknown", indexes[0].hashes[3], None]
    scored = retriever.score(vectors, leave_out)
    whole = retriever.score(vectors)
    for place in (1, 2):
        found, every = (each.parts[place].scores for each in (scored, whole))
        np.testing.assert_array_equal(found.nearest[[1, 2, 4]], every.nearest[[1, 2, 4]])
        assert (found.nearest[[0, 3]] < every.nearest[[0, 3]]).all()
        assert found.similarities.nearest_each(1)[0][[0, 3], 0].tolist() != [0, 3]
    ((part, in_batches),) = retriever.score_in_batches(vectors, leave_out)
    assert part.start == 0
    np.testing.assert_array_equal(in_batches.log_probabilities, scored.log_probabilities)
    ((_, in_batches),) = retriever.score_in_batches(vectors)
    np.testing.assert_array_equal(in_batches.log_probabilities, whole.log_probabilities)


def test_batches_fit_every_encoder(indexes, monkeypatch):
    """Each takes as many images at a time as the most demanding encoder allows, with their own rows left out."""
    retriever = Retriever.open(CONFIG, indexes)
    at_once = {index.fingerprint.dim: most for index, most in zip(indexes, (9, 2, 4))}
    of_width = property(lambda gallery: at_once[gallery.embeddings.shape[1]])
    monkeypatch.setattr(type(indexes[0].gallery), "queries_at_once", of_width)
    vectors = QueryVectors.given(*(part[:5] for part in EACH))
    leave_out = list(indexes[0].hashes[:5])
    whole = retriever.score(vectors, leave_out)
    parts = list(retriever.score_in_batches(vectors, leave_out))
    assert [(part.start, part.stop) for part, _ in parts] == [(0, 2), (2, 4), (4, 6)]
    found = np.concatenate([scored.log_probabilities for _, scored in parts])
    np.testing.assert_array_equal(found, whole.log_probabilities)


def test_without_images_there_are_no_scores(indexes):
    """Of any label."""
    scored = Retriever.open(CONFIG, indexes).score(QueryVectors.given(*(part[:0] for part in EACH)))
    assert scored.log_probabilities.shape == (0, 5)
    assert scored.nearest.shape == (0,)
