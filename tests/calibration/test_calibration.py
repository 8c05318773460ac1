"""What is calibrated is found again, or refused: never silently wrong."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.numerics import shares
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.gallery import directions
from lmm_classifier.pipeline.calibrator import Wish, calibrate
from lmm_classifier.pipeline.retriever import Retriever
from lmm_classifier.testing import clustered_rows, some_fingerprint, unit_rows

EVERY_RULE = ["auto", "softmax", "top_mean", "prototype", "top3_prototype", "tip", "gda"]


def write(path, labels, seed=0, spread=0.6):
    """Write an index of made vectors."""
    vectors = clustered_rows(np.random.default_rng(seed), labels, 12, spread)
    paths = [f"{label}/{number}.jpg" for number, label in enumerate(labels)]
    manifest = Manifest(some_fingerprint(12), "identity", len(labels), "corpus", "2026-01-01", "0")
    hashes = [f"{number:064x}" for number in range(len(labels))]
    write_index(path, Contents(manifest, list(labels), paths, hashes, {}, lambda: [vectors]))
    return path


MANY = ["a"] * 60 + ["b"] * 50 + ["c"] * 40


@pytest.mark.parametrize("name", ["index.npz", "index"])
def test_stored_is_what_was_fitted(tmp_path, name):
    """Votes with the stored calibration equal votes of a retriever that fitted the same itself."""
    path = write(tmp_path / name, MANY)
    config = RetrievalConfig(index_path=path, keep_known=0.9)
    queries = unit_rows(np.random.default_rng(5), 9, 12)
    before = Retriever(config, ExactIndex.open(path))
    calibrate(path, PipelineConfig(), Wish(keep_known=0.9))
    assert ExactIndex.open(path).contents.calibration is not None
    after = Retriever(RetrievalConfig(index_path=path), ExactIndex.open(path))
    np.testing.assert_array_equal(after.votes(queries).scores, before.votes(queries).scores)
    np.testing.assert_array_equal(after.votes(queries).familiarity, before.votes(queries).familiarity)
    assert after.open_set_threshold == before.open_set_threshold
    assert after.temperature == before.temperature


@pytest.mark.parametrize("damage", [np.array([1.0]), np.full(len(MANY), np.nan), np.full(len(MANY), np.inf)])
def test_damaged_lengths_are_computed_anew(tmp_path, monkeypatch, caplog, damage):
    """And said to be; thresholds and all else of the calibration stay."""
    monkeypatch.setattr("lmm_classifier.neighbors.metric.FOLD_FROM", 0)
    path = write(tmp_path / "index", MANY)
    calibrate(path, PipelineConfig(), Wish(keep_known=0.8))
    contents = ExactIndex.open(path).contents
    norms = contents.calibration["norms"]
    write_index(tmp_path / "other", replace(contents, calibration={**contents.calibration, "norms": damage}))
    with caplog.at_level(logging.WARNING):
        opened = Retriever(RetrievalConfig(), ExactIndex.open(tmp_path / "other"))
    assert "lengths stored with the calibration are damaged" in caplog.text
    np.testing.assert_array_equal(opened._whitened.fold.norms, norms)
    assert opened.open_set_threshold == Retriever(RetrievalConfig(), ExactIndex.open(path)).open_set_threshold


def test_lengths_in_a_folded_metric_are_stored(tmp_path, monkeypatch):
    """So opening a large index need not map its rows: those that came since are, or that a former one does not know."""
    monkeypatch.setattr("lmm_classifier.neighbors.metric.FOLD_FROM", 0)
    path = write(tmp_path / "index", MANY)
    calibrate(path, PipelineConfig(), Wish())
    opened = Retriever(RetrievalConfig(index_path=path), ExactIndex.open(path))
    contents = ExactIndex.open(path).contents
    norms = contents.calibration["norms"]
    np.testing.assert_array_equal(opened._whitened.fold.norms, norms)
    vectors = np.concatenate([unit_rows(np.random.default_rng(7), 1, 12), ExactIndex.open(path).vectors()[1:]])
    hashes = ["f" * 64, *contents.hashes[1:]]
    write_index(tmp_path / "other", replace(contents, hashes=hashes, vector_blocks=lambda: [vectors]))
    mapped = []
    monkeypatch.setattr(
        "lmm_classifier.neighbors.metric.directions", lambda rows: mapped.append(len(rows)) or directions(rows)
    )
    other = Retriever(RetrievalConfig(index_path=path), ExactIndex.open(tmp_path / "other"))
    assert mapped == [1]
    np.testing.assert_array_equal(other._whitened.fold.norms[1:], norms[1:])
    expected = directions(other._voices.metric.whiten(other.index.gallery.units[:1]))[1]
    np.testing.assert_array_equal(other._whitened.fold.norms[:1], expected)
    mapped.clear()
    without = {name: array for name, array in contents.calibration.items() if name != "norms"}
    write_index(tmp_path / "old", replace(contents, calibration=without))
    old = Retriever(RetrievalConfig(), ExactIndex.open(tmp_path / "old"), former=other)
    assert mapped == [1]
    np.testing.assert_array_equal(old._whitened.fold.norms, norms)


@pytest.mark.parametrize("groups", [None, np.arange(len(MANY)) // 2])
def test_no_more_are_left_out_than_wanted(tmp_path, groups):
    """Left out one by one, or held out in folds."""
    index = ExactIndex.open(write(tmp_path / "index", MANY))
    _, left_out = Calibration.fit(RetrievalConfig(), index, groups, most=40)
    assert len(left_out.rows) == 40
    assert len(np.unique(left_out.rows)) == 40


def test_a_promise_sets_the_threshold(tmp_path):
    """The stored threshold is used unless the configuration says otherwise."""
    path = write(tmp_path / "index.npz", MANY)
    outcome = calibrate(path, PipelineConfig(), Wish(0.9))
    stored = Retriever(RetrievalConfig(), ExactIndex.open(path)).confidence_threshold
    assert stored == outcome.promise.threshold
    by_hand = RetrievalConfig(confidence_threshold=0.25, open_set_threshold=-0.5)
    retriever = Retriever(by_hand, ExactIndex.open(path))
    assert (retriever.confidence_threshold, retriever.open_set_threshold) == (0.25, -0.5)


def test_a_refusal_changes_nothing(tmp_path):
    """Too few examples for the promise: said so with the number it takes, the file is as it was."""
    path = write(tmp_path / "index.npz", MANY)
    before = path.read_bytes()
    with pytest.raises(CalibrationError, match="too few to promise it.* It takes 299 examples without a fault"):
        calibrate(path, PipelineConfig(), Wish(0.99))
    assert path.read_bytes() == before


@pytest.mark.parametrize("labels", [["a"], ["a"] * 9, ["a", "b", "c"]], ids=["one", "one-label", "singles"])
def test_a_corpus_that_cannot_be_calibrated(tmp_path, labels):
    """Nothing to leave out: calibrating is refused, but every rule still answers."""
    path = write(tmp_path / "index.npz", labels)
    with pytest.raises(CalibrationError, match="two labels and more than one picture"):
        calibrate(path, PipelineConfig(), Wish())
    for rule in EVERY_RULE:
        retriever = Retriever(RetrievalConfig(rule=rule), ExactIndex.open(path))
        votes = retriever.votes(unit_rows(np.random.default_rng(0), 3, 12))
        assert not np.isnan(votes.scores).any()
        assert np.isfinite(votes.familiarity).all()


@pytest.mark.parametrize("whitened", [False, True])
@pytest.mark.parametrize("rule", EVERY_RULE)
def test_every_rule_is_fitted(tmp_path, rule, whitened):
    """Each rule is right on clusters, and as sure of its answers as it is right; with one-image labels too."""
    labels = [*MANY, "single"]
    path = write(tmp_path / "index.npz", labels, spread=1.2)
    config = RetrievalConfig(rule=rule, whitened=whitened)
    _, left_out = Calibration.fit(config, ExactIndex.open(path))
    assert left_out.right.mean() > 0.8
    assert left_out.confidence.mean() == pytest.approx(left_out.right.mean(), abs=0.08)


def test_another_rule_does_not_take_it(tmp_path, caplog):
    """A calibration belongs to the rule that it was made for."""
    path = write(tmp_path / "index.npz", MANY)
    calibrate(path, PipelineConfig(), Wish(0.9))
    with caplog.at_level(logging.WARNING):
        retriever = Retriever(RetrievalConfig(rule="softmax"), ExactIndex.open(path))
    assert "of the rule 'auto" in caplog.text
    assert retriever.confidence_threshold == 0.7


def test_another_corpus_makes_it_stale(tmp_path, caplog):
    """More than a quarter of the labels changed: the calibration is not used, and why is said."""
    path = write(tmp_path / "index.npz", MANY)
    calibrate(path, PipelineConfig(), Wish(0.9))
    contents = ExactIndex.open(path).contents
    write_index(tmp_path / "other.npz", replace(contents, labels=["b"] * 40 + contents.labels[40:]))
    with caplog.at_level(logging.WARNING):
        assert Calibration.of(ExactIndex.open(tmp_path / "other.npz").contents) is None
    assert "stale" in caplog.text


@pytest.mark.parametrize("name", ["temperatures", "familiarity.crowding", "metric.projection", "thresholds"])
def test_damage_is_said_and_healed(tmp_path, name, caplog):
    """A damaged calibration is fitted anew; the answer is the same."""
    path = write(tmp_path / "index.npz", MANY)
    queries = unit_rows(np.random.default_rng(5), 3, 12)
    expected = Retriever(RetrievalConfig(), ExactIndex.open(path)).votes(queries).scores
    calibrate(path, PipelineConfig(), Wish())
    contents = ExactIndex.open(path).contents
    damaged = {**contents.calibration, name: np.array([-1.0])}
    write_index(path, replace(contents, calibration=damaged))
    with caplog.at_level(logging.WARNING):
        retriever = Retriever(RetrievalConfig(), ExactIndex.open(path))
    assert "damaged" in caplog.text
    np.testing.assert_array_equal(retriever.votes(queries).scores, expected)


def test_restricted_labels(tmp_path):
    """With `labels` the others are nowhere in the vote, the known stay known, and promised thresholds stay."""
    path = write(tmp_path / "index.npz", MANY)
    calibrate(path, PipelineConfig(), Wish(0.9, keep_known=0.9))
    index = ExactIndex.open(path)
    whole = Retriever(RetrievalConfig(), index)
    some = Retriever(RetrievalConfig(), index, ["a", "c"])
    assert some.confidence_threshold == whole.confidence_threshold
    rows = np.flatnonzero(np.array(MANY) != "b")
    votes = some.votes(index.vectors()[rows], [index.hashes[row] for row in rows])
    assert votes.scores.shape == (100, 2)
    assert 0.85 <= (votes.familiarity >= some.open_set_threshold).mean() <= 0.95
    assert len(some.index.vectors()) == 100


def test_left_out_contents_do_not_vote(tmp_path):
    """A query that is in the corpus is judged without itself, in every space."""
    path = write(tmp_path / "index.npz", MANY)
    index = ExactIndex.open(path)
    retriever = Retriever(RetrievalConfig(), index)
    own = index.vectors()[:1]
    with_itself, without = retriever.votes(own), retriever.votes(own, [index.hashes[0]])
    assert with_itself.familiarity[0] > without.familiarity[0]
    assert without.comparison.nearest(0, 1)[0][0] != 0


def test_conformal_sets_cover(tmp_path):
    """The least share is the conformal quantile; over many draws the sets hold the truth as often as promised."""
    held, sizes = [], []
    for seed in range(6):
        labels = MANY
        vectors = clustered_rows(np.random.default_rng(seed), labels * 2, 12, 2.0)
        path = tmp_path / f"{seed}.npz"
        paths = [f"{label}/{number}.jpg" for number, label in enumerate(labels)]
        manifest = Manifest(some_fingerprint(12), "identity", len(labels), "corpus", "2026-01-01", "0")
        first = vectors[: len(labels)]
        contents = Contents(
            manifest, list(labels), paths, [f"{n:064x}" for n in range(len(labels))], {}, lambda v=first: [v]
        )
        write_index(path, contents)
        retriever = Retriever(RetrievalConfig(set_alpha=0.1), ExactIndex.open(path))
        share = shares(retriever.votes(vectors[len(labels) :]).scores, retriever.temperature)
        own = share[np.arange(len(labels)), [ord(label) - ord("a") for label in labels]]
        held.append((own >= retriever.least_share).mean())
        sizes.append((share >= retriever.least_share).sum(axis=1).mean())
    assert np.mean(held) == pytest.approx(0.9, abs=0.04)
    assert 1 <= np.mean(sizes) < 2.5


def test_conformal_sets_are_mapies():
    """MAPIE's split conformal sets with the score 1 - p, on the same probabilities."""
    from mapie.classification import SplitConformalClassifier
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Given(ClassifierMixin, BaseEstimator):
        """A classifier whose input is its output."""

        def fit(self, x, y):
            self.classes_ = np.arange(4)
            self.n_features_in_ = 4
            return self

        def predict_proba(self, x):
            return np.asarray(x)

        def predict(self, x):
            return np.asarray(x).argmax(axis=1)

    rng = np.random.default_rng(0)
    shares_ = rng.dirichlet(np.full(4, 0.6), 160)
    truth = np.array([rng.choice(4, p=row) for row in shares_])
    own = np.sort(shares_[np.arange(90), truth[:90]])
    for alpha in (0.05, 0.1, 0.3):
        theirs = SplitConformalClassifier(Given().fit(None, None), confidence_level=1 - alpha, prefit=True)
        theirs.conformalize(shares_[:90], truth[:90])
        sets = theirs.predict_set(shares_[90:])[1][:, :, 0]
        calibration = Calibration(None, None, own)
        np.testing.assert_array_equal(shares_[90:] >= calibration.least_share(alpha) - 1e-12, sets)
