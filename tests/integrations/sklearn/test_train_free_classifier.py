"""The estimator passes the checks of scikit-learn, works with its tools, and answers as the program does."""

import io
import pickle
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import joblib
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.embeddings.descriptor import DescriptorEncoder
from lmm_classifier.index.vector_index import Index
from lmm_classifier.integrations.sklearn import TrainFreeClassifier
from lmm_classifier.integrations.sklearn.train_free_classifier import label_names
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.testing import clustered_embeddings
from tests.helpers.vector_indexes import object_embeddings

LABELS = ["cat"] * 40 + ["dog"] * 30 + ["eel"] * 20
X = clustered_embeddings(np.random.default_rng(0), LABELS, 16, 0.9)
NEW = clustered_embeddings(np.random.default_rng(0), LABELS * 2, 16, 0.9)[90:]


@pytest.fixture(scope="module")
def fitted():
    return TrainFreeClassifier().fit(X, LABELS)


@pytest.mark.long
@parametrize_with_checks(
    [
        TrainFreeClassifier(),
        TrainFreeClassifier(metric="euclidean"),
        TrainFreeClassifier("knn"),
        TrainFreeClassifier("gda", metric="euclidean"),
    ]
)
def test_checks_of_scikit_learn(estimator, check):
    """Each check, for both metrics and several rules."""
    check(estimator)


def test_no_check_of_scikit_learn_fails():
    """All of them with the default parameters, in one go; the guide shows these counts."""
    results = check_estimator(TrainFreeClassifier(), on_fail=None, on_skip=None)
    counts = Counter(result["status"] for result in results)
    assert counts["failed"] == 0, [result for result in results if result["status"] == "failed"]
    assert set(counts) <= {"passed", "skipped"}
    assert {result["check_name"] for result in results if result["status"] == "skipped"} <= {"check_array_api_input"}


@pytest.mark.long
@pytest.mark.parametrize("rule", ["auto", "knn", "gda"])
def test_it_answers_as_the_program(tmp_path, rule):
    """The index that it saves gives the same bits: probabilities, familiarity, neighbors and prediction sets."""
    estimator = TrainFreeClassifier(rule, keep_known=0.9).fit(X, LABELS)
    estimator.index_.save(tmp_path / "index")
    config = PipelineConfig.preset("vectors")
    config.retrieval.index_path = tmp_path / "index"
    config.retrieval.rule, config.retrieval.keep_known = rule, 0.9
    config.retrieval.prediction_set_alpha, config.retrieval.candidates = 0.1, 3
    with HybridClassifier(config) as classifier:
        results = classifier.classify_vectors(NEW)
        novelty = classifier.thresholds.novelty.value
    probabilities, order = estimator.predict_proba(NEW), np.argsort(-estimator.predict_proba(NEW), axis=1)
    for row, result in enumerate(results):
        scores = {candidate.label: candidate.score for candidate in result.candidates}
        assert scores == {
            label: score for label, score in zip(estimator.classes_, probabilities[row].tolist()) if score > 0
        }
        assert result.candidates[0].label == estimator.classes_[order[row, 0]]
    assert [result.familiarity for result in results] == estimator.score_samples(NEW).tolist()
    assert novelty == estimator.familiarity_threshold_
    assert [result.is_unknown for result in results] == (estimator.score_samples(NEW) < novelty).tolist()
    sets = estimator.predict_set(NEW, 0.1)
    assert [set(result.prediction_set) for result in results] == [set(estimator.classes_[row]) for row in sets]
    nearest = Index.open(tmp_path / "index").search(NEW, 1)
    places = estimator.kneighbors(NEW, 1, return_distance=False)
    assert [int(found[0].example.path) for found in nearest] == places[:, 0].tolist()


def test_probabilities_are_those_of_the_classes():
    """In the order of `classes_`, whatever type they have and however their texts are sorted."""
    reference = TrainFreeClassifier().fit(X, LABELS).predict_proba(NEW)
    numbers = {"cat": 2, "dog": 10, "eel": 9}
    for classes in (numbers, {"cat": 1.0, "dog": 0.0, "eel": -1.0}, {"cat": " a", "dog": "", "eel": "a"}):
        estimator = TrainFreeClassifier().fit(X, np.array([classes[label] for label in LABELS]))
        column = {name: list(estimator.classes_).index(value) for name, value in classes.items()}
        ordered = estimator.predict_proba(NEW)[:, [column[name] for name in ("cat", "dog", "eel")]]
        np.testing.assert_allclose(ordered, reference, atol=1e-9)
        assert (estimator.predict(NEW) == estimator.classes_[estimator.predict_proba(NEW).argmax(axis=1)]).all()
    assert (TrainFreeClassifier().fit(X, np.array(LABELS) == "cat").predict(X[:1])).tolist() == [True]


def test_label_names():
    """The text of a class is its label, where all of them can be labels and differ."""
    assert label_names(np.array([2, 10])) == ["2", "10"]
    assert label_names(["é", "b"]) == ["é", "b"]
    assert label_names(["é", "e\u0301"]) == ["class 00000", "class 00001"]
    assert label_names(["", "b"]) == ["class 00000", "class 00001"]


def test_unknown_rows_are_less_familiar(fitted):
    """`score_samples` is higher for known rows; about one in twenty of them lies below the threshold."""
    unknowns = np.random.default_rng(5).normal(size=(90, 16))
    familiarity = fitted.score_samples(NEW)
    assert np.median(familiarity) > np.median(fitted.score_samples(unknowns)) + 1
    assert (familiarity < fitted.familiarity_threshold_).mean() < 0.2


def test_prediction_sets(fitted):
    """A smaller alpha gives larger sets; none is empty; the class that is most likely is always in it."""
    sizes = [fitted.predict_set(NEW, alpha).sum() for alpha in (0.5, 0.1, 0.01)]
    assert sizes == sorted(sizes)
    small = fitted.predict_set(NEW, 0.9)
    assert (small.sum(axis=1) >= 1).all()
    assert small[np.arange(len(NEW)), fitted.predict_proba(NEW).argmax(axis=1)].all()
    truth = np.searchsorted(fitted.classes_, LABELS)
    assert fitted.predict_set(NEW, 0.1)[np.arange(90), truth].mean() > 0.8
    for alpha in (0, 1, -0.1, np.nan):
        with pytest.raises(ValueError, match="Expected more than 0 and less than 1"):
            fitted.predict_set(NEW, alpha)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbors(metric):
    """Those of scikit-learn, with the same distances."""
    from sklearn.neighbors import NearestNeighbors

    table = load_iris().data
    estimator = TrainFreeClassifier(metric=metric).fit(table, load_iris().target)
    distances, places = estimator.kneighbors(table + 0.01, 4)
    expected, _ = NearestNeighbors(n_neighbors=4, metric=metric).fit(table).kneighbors(table + 0.01)
    is_near = np.isclose(distances, expected, atol=1e-6 if metric == "cosine" else 1e-4)
    assert is_near.mean() == 1 if metric == "cosine" else is_near.mean() > 0.99
    assert (np.diff(distances, axis=1) >= 0).all()
    direct = np.sqrt(np.square(table[places] - (table + 0.01)[:, None]).sum(axis=2))
    if metric == "euclidean":
        np.testing.assert_allclose(distances, direct, atol=1e-4)
    for wrong in (0, 151):
        with pytest.raises(ValueError, match="Expected 1 to 150"):
            estimator.kneighbors(table, wrong)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbors_of_the_examples(metric):
    """Without X, no row is its own neighbor, but its copies are, as in scikit-learn."""
    from sklearn.neighbors import NearestNeighbors

    table = np.concatenate([np.random.default_rng(0).normal(size=(60, 4)), np.ones((2, 4))])
    estimator = TrainFreeClassifier(metric=metric).fit(table, [0, 1] * 31)
    expected, places = NearestNeighbors(n_neighbors=3, metric=metric).fit(table).kneighbors()
    distances, found = estimator.kneighbors(n_neighbors=3)
    assert np.isclose(distances, expected, atol=1e-6 if metric == "cosine" else 1e-4).mean() > 0.99
    assert (found == places).mean() > 0.95
    assert found[60, 0] == 61
    assert estimator.kneighbors(n_neighbors=61, return_distance=False).shape == (62, 61)
    with pytest.raises(ValueError, match="Expected 1 to 61"):
        estimator.kneighbors(n_neighbors=62)


def test_euclidean_is_for_tables():
    """Raw measurements of iris: their direction says less than their distance."""
    table, target = load_iris(return_X_y=True)
    by_distance = cross_val_score(
        make_pipeline(StandardScaler(), TrainFreeClassifier(metric="euclidean")), table, target
    )
    by_direction = cross_val_score(make_pipeline(StandardScaler(), TrainFreeClassifier()), table, target)
    assert by_distance.mean() > 0.92 > by_direction.mean()


def test_a_row_that_is_zero_has_no_direction(fitted):
    """It is similar to nothing; with the Euclidean metric it is a row like others."""
    assert fitted.score_samples(np.zeros((1, 16)))[0] < fitted.familiarity_threshold_
    with_zero = TrainFreeClassifier().fit(np.concatenate([X, np.zeros((2, 16))]), [*LABELS, "cat", "dog"])
    assert np.isfinite(with_zero.predict_proba(NEW)).all()


def test_groups_are_held_out_together():
    """Images of one object make single rows look too easy: with groups the sets and the calibration allow for that."""
    vectors, labels, objects = object_embeddings(np.random.default_rng(3), noise=0.05)
    groups = [f"{label} {thing}" for label, thing in zip(labels, objects)]
    alone, grouped = TrainFreeClassifier().fit(vectors, labels), TrainFreeClassifier().fit(vectors, labels, groups)
    new, _, _ = object_embeddings(np.random.default_rng(4), noise=0.05)
    assert grouped.predict_proba(new).max(axis=1).mean() < alone.predict_proba(new).max(axis=1).mean()
    assert grouped.retriever_.calibration.held_out.correct.mean() < 0.9
    for wrong in (groups[1:], ["one"] * len(labels)):
        with pytest.raises(ValueError, match=r"Expected 96 groups, one for each row and two different ones"):
            TrainFreeClassifier().fit(vectors, labels, wrong)


def test_tools_of_scikit_learn():
    """A search over parameters in a pipeline, copies, pickle and joblib, and the shown HTML."""
    table, target = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), TrainFreeClassifier())
    search = GridSearchCV(pipeline, {"trainfreeclassifier__metric": ["cosine", "euclidean"]}, cv=3).fit(table, target)
    assert search.best_params_ == {"trainfreeclassifier__metric": "euclidean"}
    best = search.best_estimator_
    expected = best.predict_proba(table)
    assert (pickle.loads(pickle.dumps(best)).predict_proba(table) == expected).all()
    stored = io.BytesIO()
    joblib.dump(best, stored)
    stored.seek(0)
    assert (joblib.load(stored).predict_proba(table) == expected).all()
    copy = clone(best)
    with pytest.raises(NotFittedError):
        copy.predict(table)
    assert (copy.fit(table, target).predict_proba(table) == expected).all()
    assert is_classifier(copy)
    assert "TrainFreeClassifier" in best._repr_html_()


def test_scores_with_groups():
    """Cross-validation by groups needs no more than scikit-learn's own folds."""
    vectors, labels, objects = object_embeddings(np.random.default_rng(3))
    groups = [f"{label} {thing}" for label, thing in zip(labels, objects)]
    scores = cross_val_score(TrainFreeClassifier(), vectors, labels, groups=groups, cv=GroupKFold(3))
    assert len(scores) == 3


def test_calibration_and_conformal_tools():
    """`CalibratedClassifierCV` and MAPIE take it as any classifier."""
    table, target = load_digits(return_X_y=True)
    fit, conform, test = slice(0, 400), slice(400, 700), slice(700, 1000)
    calibrated = CalibratedClassifierCV(TrainFreeClassifier(), cv=2).fit(table[fit], target[fit])
    assert calibrated.score(table[test], target[test]) > 0.8
    mapie = pytest.importorskip("mapie.classification", reason="MAPIE is not installed")
    estimator = TrainFreeClassifier().fit(table[fit], target[fit])
    conformal = mapie.SplitConformalClassifier(estimator, confidence_level=0.9, prefit=True)
    conformal.conformalize(table[conform], target[conform])
    _, sets = conformal.predict_set(table[test])
    assert 0.85 < sets[np.arange(300), target[test], 0].mean() <= 1


def test_a_fitted_transform():
    """Vectors of the descriptor are compared in a whitened space, as the program does."""
    from lmm_classifier.data.synthetic import draw
    from lmm_classifier.embeddings.encode_images import encode_images

    encoder, labels = DescriptorEncoder(), ["stripes", "gingham"] * 6
    images = [draw(label, np.random.default_rng(number), 64) for number, label in enumerate(labels)]
    vectors = encode_images(encoder, images)
    estimator = TrainFreeClassifier(transform_fitter=encoder.transform_fitter).fit(vectors, labels)
    assert estimator.index_.transform.name == "block_whitening"
    assert clone(estimator).fit(vectors, labels).predict(vectors).tolist() == labels


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"rule": "nearest"}, ConfigError, "^TrainFreeClassifier: rule='nearest': expected 'auto', 'knn'"),
        ({"k": 0, "temperature": -1.0}, ConfigError, "k=0: expected .* equal to 1; temperature=-1.0: expected"),
        ({"keep_known": 1.0}, ConfigError, "keep_known=1.0: expected less than 1"),
        ({"metric": "manhattan"}, ValueError, "Expected 'cosine' or 'euclidean'"),
        (
            {"metric": "euclidean", "transform_fitter": DescriptorEncoder().transform_fitter},
            ValueError,
            "needs the metric",
        ),
    ],
)
def test_wrong_parameters(parameters, error, message):
    """They are refused when it is fitted, as scikit-learn has it."""
    with pytest.raises(error, match=message):
        TrainFreeClassifier(**parameters).fit(X, LABELS)


def test_numbers_of_numpy():
    """A search over `np.arange` gives parameters of its types."""
    parameters = ("knn", np.int64(3), np.float32(0.5), np.bool_(True))
    found = TrainFreeClassifier(*parameters).fit(X, LABELS).predict_proba(NEW)
    plain = TrainFreeClassifier("knn", 3, 0.5, True).fit(X, LABELS).predict_proba(NEW)
    assert (found == plain).all()


def test_one_class_is_too_few():
    """There is nothing to tell apart."""
    with pytest.raises(ValueError, match="only one class"):
        TrainFreeClassifier().fit(X[:3], ["cat"] * 3)
