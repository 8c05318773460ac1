"""Retrieval scores with the stored calibration, or fits the same one where none is stored."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out, fusion_fit
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError, ConfigError, UnreadableImageError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.pipeline.thresholds import Thresholds
from lmm_classifier.testing import clustered_embeddings, random_embeddings
from tests.helpers.encoders import ColorEncoder, LayoutEncoder, NoiseEncoder, draw_sides
from tests.helpers.vector_indexes import DIM, LABELS, write_clusters, write_vectors

RULES = ["auto", "knn", "top_k_mean", "prototype", "top_k_mean_prototype", "tip", "gda"]


@pytest.mark.parametrize("name", ["index.npz", "index"])
def test_a_stored_calibration_scores_as_the_fitted_one(tmp_path, name):
    """Scores, familiarity and temperature are the same, bit for bit."""
    path = write_clusters(tmp_path / name)
    config = RetrievalConfig(index_path=path)
    queries = QueryVectors.given(random_embeddings(np.random.default_rng(5), 9, DIM))
    fitted = Retriever.open(config, [Index.open(path)])
    calibrate_index(path)
    stored = Retriever.open(config, [Index.open(path)])
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
        retriever = Retriever.open(RetrievalConfig(rule=rule), [Index.open(path)])
        scored = retriever.score(QueryVectors.given(random_embeddings(np.random.default_rng(0), 3, DIM)))
        assert not np.isnan(scored.log_probabilities).any()
        assert np.isfinite(scored.familiarity).all()


def test_restricted_labels_are_fitted_among_themselves(tmp_path):
    """The other labels have no score, and as many known images as asked for are still familiar."""
    path = write_clusters(tmp_path / "index.npz")
    calibrate_index(path, request=CalibrationRequest(0.9, keep_known=0.9))
    index = Index.open(path)
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
    index = Index.open(write_clusters(tmp_path / "index.npz"))
    retriever = Retriever.open(RetrievalConfig(), [index])
    own = QueryVectors.given(index.vectors()[:1])
    with_itself, without_itself = retriever.score(own), retriever.score(own, [index.hashes[0]])
    assert with_itself.familiarity[0] > without_itself.familiarity[0]
    assert with_itself.nearest[0] == pytest.approx(1, abs=1e-5)
    assert without_itself.nearest[0] < with_itself.nearest[0]
    assert without_itself.parts[0].scores.similarities.nearest(0, 1)[0][0] != 0


def test_batches_do_not_change_the_scores(tmp_path, monkeypatch):
    """Parts cover all queries in order; each row is the same as in one call."""
    index = Index.open(write_clusters(tmp_path / "index.npz"))
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
    former = Retriever.open(config, [Index.open(path)])
    again = Retriever.open(config, [Index.open(path)], former=former)
    np.testing.assert_array_equal(again.score(queries).log_probabilities, former.score(queries).log_probabilities)


ENCODERS = (ColorEncoder, NoiseEncoder, LayoutEncoder)


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """An index whose labels need both color and layout, with vectors of noise too; and vectors of new images."""
    root = tmp_path_factory.mktemp("sides")
    encoders = [encoder() for encoder in ENCODERS]
    for name, seed in (("index.npz", 0), ("new.npz", 1)):
        draw_sides(root / name.partition(".")[0], seed=seed)
        build_index_from_directory(
            root / name.partition(".")[0], root / name, config=PipelineConfig.offline(), encoder=encoders
        )
    new = [index.vectors() for index in Index.open_each(root / "new.npz")]
    return Index.open_each(root / "index.npz"), new, np.array(Index.open(root / "new.npz").contents.labels)


def accuracy(retriever, vectors, labels):
    scored = retriever.score(QueryVectors.given(*vectors))
    return float((np.array(retriever.index.label_names)[scored.probabilities.argmax(axis=1)] == labels).mean())


def test_fused_encoders_are_better_than_each(sides):
    """One tells colors apart, another one layouts."""
    indexes, new, labels = sides
    alone = [accuracy(Retriever.open(RetrievalConfig(), [indexes[n]]), [new[n]], labels) for n in (0, 2)]
    fused = Retriever.open(RetrievalConfig(), [indexes[0], indexes[2]])
    assert accuracy(fused, [new[0], new[2]], labels) > max(alone) + 0.1
    assert len(fused.calibration.cascade.stages) == 1


@pytest.mark.parametrize("cascade", [False, True])
def test_predictions_are_those_of_the_left_out_examples(sides, cascade):
    """The held-out predictions of a calibration are what a retriever with it answers to the same examples.

    Its rule needs no metric here: that would be fitted to the left-out example too.
    """
    indexes = [sides[0][0], sides[0][2]]
    config = RetrievalConfig(rule="knn", k=5, cascade=cascade)
    calibration, predictions = fit_by_leave_one_out(config, indexes)
    retriever = Retriever.open(config, indexes)
    vectors = QueryVectors.given(*(index.vectors() for index in indexes))
    scored = retriever.score(vectors, list(indexes[0].hashes))
    assert retriever.calibration.cascade.to_json() == calibration.cascade.to_json()
    np.testing.assert_allclose(scored.log_probabilities, predictions.log_probabilities, atol=1e-5)
    assert set(scored.stage.tolist()) == (set(range(len(calibration.cascade.stages))))
    accepted = (scored.familiarity >= calibration.familiarity_threshold(0.9)).mean()
    assert accepted == pytest.approx(0.9, abs=0.08)


def with_steps(config, indexes, *steps):
    """A retriever whose cascade asks these encoders."""
    retriever = Retriever.open(config, indexes)
    predictions = fit_by_leave_one_out(config, indexes)[1]
    cascade = fusion_fit(indexes[0].label_counts, predictions, equal=True).cascade(steps)[0]
    calibration = replace(retriever.calibration, cascade=cascade)
    first = 0 if config.open_set_threshold is not None else cascade.stages[0].encoders[0]
    return replace(retriever, calibration=calibration, similarity_encoder=first)


def asked_of(vectors):
    """The same vectors, which are encoded when they are asked for; and a record of the rows that each encoder had."""
    asked = {place: [] for place in range(len(vectors))}

    class Given:
        def __init__(self, place):
            self.place, self.fingerprint = place, ENCODERS[place].fingerprint

        def encode(self, rows):
            asked[self.place] += rows
            return vectors[self.place][rows].reshape(-1, vectors[self.place].shape[1])

    return QueryVectors(len(vectors[0]), {}, [Given(place) for place in asked], lambda row, _: row), asked


def test_a_later_encoder_is_asked_only_where_the_first_one_is_unsure(sides):
    """The answers are those of the stage that was reached, whether the vectors were there before or not."""
    indexes, new, _ = sides
    retriever = with_steps(RetrievalConfig(), indexes, (0,), (0, 2))
    vectors, asked = asked_of(new)
    scored = retriever.score(vectors)
    first, last = retriever.calibration.cascade.stages
    alone = retriever.encoders[0].score(new[0], [])
    unsure = np.flatnonzero(np.exp(alone.log_probabilities.max(axis=1)) <= first.ask_up_to)
    assert 0 < len(unsure) < len(new[0])
    assert (asked[0], asked[1], asked[2]) == (list(range(len(new[0]))), [], unsure.tolist())
    np.testing.assert_array_equal(np.flatnonzero(scored.stage == 1), unsure)
    sure = np.setdiff1d(np.arange(len(new[0])), unsure)
    np.testing.assert_array_equal(scored.log_probabilities[sure], alone.log_probabilities[sure])
    fused = last.fusion.log_probabilities(
        [alone.log_probabilities[unsure], retriever.encoders[2].score(new[2][unsure], []).log_probabilities]
    )
    np.testing.assert_allclose(scored.log_probabilities[unsure], fused, atol=1e-6)
    given = retriever.score(QueryVectors.given(*new))
    np.testing.assert_allclose(given.log_probabilities, scored.log_probabilities, atol=1e-6)
    np.testing.assert_allclose(given.nearest, alone.nearest, atol=1e-6)


def test_a_batch_changes_no_answer_of_a_cascade(sides, monkeypatch):
    """Not the rows that are asked either."""
    indexes, new, _ = sides
    retriever = with_steps(RetrievalConfig(), indexes, (0,), (0, 2), (0, 2, 1))
    whole = retriever.score(QueryVectors.given(*new))
    monkeypatch.setattr(type(indexes[0].gallery), "queries_at_once", 7)
    parts = [part for _, part in retriever.score_in_batches(QueryVectors.given(*new))]
    np.testing.assert_array_equal(np.concatenate([part.stage for part in parts]), whole.stage)
    for name in ("log_probabilities", "familiarity", "nearest", "strongest"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))


def test_an_image_that_a_later_encoder_refuses_keeps_the_answer_before(sides):
    """The others are asked on."""
    indexes, new, _ = sides
    retriever = with_steps(RetrievalConfig(), indexes, (0,), (0, 2), (0, 2, 1))
    expected = retriever.score(QueryVectors.given(*new))
    refused = np.flatnonzero(expected.stage > 0)[:3]

    def load(row, place):
        if place == 2 and row in refused:
            raise UnreadableImageError("gone")
        return row

    vectors, asked = asked_of(new)
    scored = retriever.score(replace(vectors, load_input=load))
    assert not set(asked[1] + asked[2]) & set(refused.tolist())
    assert (scored.stage[refused] == 0).all()
    alone = retriever.encoders[0].score(new[0], [])
    np.testing.assert_array_equal(scored.log_probabilities[refused], alone.log_probabilities[refused])
    others = np.setdiff1d(np.arange(len(new[0])), refused)
    np.testing.assert_array_equal(scored.stage[others], expected.stage[others])


@pytest.mark.parametrize("steps", [[(2,), (2, 1)], [(2,), (2, 1), (2, 1, 0)], [(0, 2)]])
def test_a_similarity_by_hand_is_that_of_the_first_encoder(sides, steps):
    """For every image, wherever the cascade ends, also if this encoder is a later one or none of the cascade."""
    indexes, new, _ = sides
    retriever = with_steps(RetrievalConfig(open_set_threshold=0.5), indexes, *steps)
    nearest = retriever.encoders[0].score(new[0], []).nearest
    vectors, asked = asked_of(new)
    scored = retriever.score(vectors)
    np.testing.assert_allclose(scored.nearest, nearest, atol=1e-6)
    assert sorted(asked[0]) == list(range(len(new[0])))  # and it is asked once
    without = with_steps(RetrievalConfig(), indexes, *steps).score(QueryVectors.given(*new))
    np.testing.assert_allclose(scored.log_probabilities, without.log_probabilities, atol=1e-6)


def test_neighbors_are_those_of_the_encoder_with_most_weight_on_the_label(sides):
    """Of the images of that label, by its own similarity; an encoder that was not asked has none."""
    indexes, new, _ = sides
    retriever = with_steps(RetrievalConfig(), indexes, (0,), (0, 2))
    scored = retriever.score(QueryVectors.given(*new))
    assert set(scored.strongest[scored.stage == 0].ravel()) == {0}
    assert set(scored.strongest[scored.stage == 1].ravel()) == {0, 2}
    rows_of = retriever.index.gallery.rows_of_label
    wanted = [(query, label) for query in range(len(new[0])) for label in range(4)]
    rows, cosines = scored.nearest_among(wanted, rows_of, 3)
    for (query, label), found, similar in zip(wanted, rows, cosines):
        encoder = int(scored.strongest[query, label])
        vectors = new[encoder][query : query + 1]
        expected = indexes[encoder].compare(vectors).nearest(0, 3, rows_of[label])
        np.testing.assert_allclose(similar, expected[1], atol=1e-6)
        alone = scored.nearest_of_label(query, label, rows_of[label], 3)
        np.testing.assert_array_equal(alone[0], found)
        assert alone[2] == encoder


def test_some_labels_are_fitted_for_each_encoder(sides):
    """The fusion too."""
    indexes, new, labels = sides
    some = ["blue_left", "blue_right"]
    retriever = Retriever.open(RetrievalConfig(), [indexes[0], indexes[2]], some)
    chosen = np.isin(labels, some)
    assert accuracy(retriever, [new[0][chosen], new[2][chosen]], labels[chosen]) > 0.9
    assert [encoder.index.fingerprint for encoder in retriever.encoders] == [
        ColorEncoder.fingerprint, LayoutEncoder.fingerprint,
    ]  # fmt: skip
    assert retriever.names == ["boxes", "thumbnail"]


@pytest.mark.parametrize("places", [(0, 2), (2, 1, 0)])
def test_a_calibration_of_other_encoders_is_not_used(sides, tmp_path, caplog, places):
    """A subset, or another order: the rule is fitted on opening, and the log says which encoders it is of."""
    path = tmp_path / "index.npz"
    write_index(path, sides[0][0].contents)
    calibrate_index(path, PipelineConfig.offline())
    indexes = Index.open_each(path)
    assert Retriever.open(RetrievalConfig(), indexes).stored is not None
    assert "calibration" not in caplog.text
    retriever = Retriever.open(RetrievalConfig(), [indexes[place] for place in places])
    assert retriever.stored is None
    names = ["boxes", "digest", "thumbnail"]
    configured = ", ".join(names[place] for place in places)
    assert f"is of the encoders boxes, digest, thumbnail, but configured are {configured}." in caplog.text
    assert "It is not used. Use the configuration that it was calibrated with. To change the index, run" in caplog.text
    assert [encoder.index.encoder for encoder in retriever.encoders] == list(places)


def test_a_fit_is_carried_only_where_that_is_asked_for(tmp_path):
    """Its scores are those of a stored calibration on the same examples, and it is carried from the first fit on."""
    labels = [*LABELS, *"ab" * 10]
    vectors = clustered_embeddings(np.random.default_rng(0), labels, DIM, 0.6)
    config, queries = RetrievalConfig(), QueryVectors.given(vectors[::7])

    def version(count):
        path = write_vectors(tmp_path / f"{count}.npz", labels[:count], vectors[:count])
        return Index.open(path)

    def scores(retriever):
        return retriever.score(queries).log_probabilities

    first = Retriever.open(config, [version(150)])
    second = Retriever.open(config, [version(160)], former=first, carry=True)
    third = Retriever.open(config, [version(170)], former=second, carry=True)
    assert [first.is_carried, second.is_carried, third.is_carried] == [False, True, True]
    assert third.fitted is first.fitted
    stored = replace(third.index.contents, calibration=first.calibration.to_arrays(first.index.contents))
    write_index(tmp_path / "stored.npz", stored)
    by_stored = Retriever.open(config, [Index.open(tmp_path / "stored.npz")])
    assert by_stored.fitted is None
    np.testing.assert_array_equal(scores(third), scores(by_stored))
    refitted = Retriever.open(config, [version(170)], former=second)
    assert not refitted.is_carried
    np.testing.assert_array_equal(scores(refitted), scores(Retriever.open(config, [version(170)])))
    some = ["a", "c"]
    chosen = Retriever.open(config, [version(150)], some)
    again = Retriever.open(config, [version(160)], some, former=chosen, carry=True)
    assert again.is_carried
    assert list(again.index.label_names) == some
