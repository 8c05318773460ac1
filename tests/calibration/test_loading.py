"""A stored calibration is loaded, stale or missing; it is never silently wrong."""

import logging
import shutil
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.loading import (
    Loaded,
    Missing,
    Stale,
    load_calibration,
    stored_request,
    usable_calibration,
)
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.calibration.zero_shot_text import ZeroShotText
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.voting import make_rule
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever
from lmm_classifier.testing import random_embeddings
from tests.helpers.vector_indexes import DIM, LABELS, write_clusters


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """An index that is calibrated for a precision of 0.9; tests copy it."""
    path = write_clusters(tmp_path_factory.mktemp("loading") / "index.npz")
    calibrate_index(path, request=CalibrationRequest(0.9))
    return path


@pytest.fixture
def path(calibrated, tmp_path):
    return shutil.copy(calibrated, tmp_path / "index.npz")


@pytest.fixture
def contents(path):
    return Index.open(path).contents


def spec(rule="auto"):
    return make_rule(RetrievalConfig(rule=rule), np.array([ord(label) - ord("a") for label in LABELS]), 3)


def test_a_calibration_that_fits_is_loaded_without_a_note(contents):
    """Its rule can score with the configured specification, and only be described without one."""
    state = load_calibration(contents, spec())
    assert isinstance(state, Loaded)
    assert state.note == ""
    assert state.calibration.fits[0].rule.spec.name == spec().name
    described = load_calibration(contents)
    assert isinstance(described, Loaded)
    assert described.calibration.fits[0].rule.spec is None


def test_an_index_without_a_calibration_is_missing_one(contents, caplog):
    """Nothing is logged: that is the state of every new index."""
    uncalibrated = replace(contents, calibration=None)
    assert load_calibration(uncalibrated) == Missing()
    assert usable_calibration(uncalibrated) is None
    assert caplog.text == ""


def test_another_rule_makes_it_stale(path, contents, caplog):
    """A calibration belongs to the rule that it was made for, so a retriever of another rule does not use it."""
    state = load_calibration(contents, spec("knn"))
    assert isinstance(state, Stale)
    assert state.reason.startswith("The calibration is of the rule 'auto")
    assert "'knn" in state.reason
    with caplog.at_level(logging.WARNING):
        retriever = Retriever.open(RetrievalConfig(rule="knn"), [Index.open(path)])
    assert retriever.stored is None
    assert "of the rule 'auto" in caplog.text
    assert "It is not used. Use the configuration that it was calibrated with" in caplog.text


def test_a_few_changed_examples_are_noted(contents, caplog):
    """Up to a quarter: the calibration is used, the note counts them, and their kNN distances are missing."""
    changed = replace(contents, labels=["b"] * 10 + list(contents.labels[10:]))
    state = load_calibration(changed, spec())
    assert isinstance(state, Loaded)
    assert "10 of 150 examples were added or changed" in state.note
    assert "guarantees do not cover them" in state.note
    assert np.isnan(state.calibration.fits[0].familiarity.knn_distance).sum() == 10
    with caplog.at_level(logging.WARNING):
        assert usable_calibration(changed, spec()) is not None
    assert state.note in caplog.text


def test_many_changed_examples_make_it_stale(contents, caplog):
    """More than a quarter of the labels changed: the calibration is not used, and the log says why."""
    changed = replace(contents, labels=["b"] * 40 + list(contents.labels[40:]))
    state = load_calibration(changed)
    assert isinstance(state, Stale)
    assert "40 of 150 examples" in state.reason
    with caplog.at_level(logging.WARNING):
        assert usable_calibration(changed) is None
    assert "stale" in caplog.text


def test_another_encoder_makes_it_stale(contents):
    """Its numbers belong to the vectors of one encoder."""
    (entry,) = contents.manifest.encoders
    entry = replace(entry, fingerprint=replace(entry.fingerprint, revision="2"))
    changed = replace(contents, manifest=replace(contents.manifest, encoders=(entry,)))
    state = load_calibration(changed)
    assert isinstance(state, Stale)
    assert "the encoder or the transform of the index changed" in state.reason


def test_another_order_of_encoders_needs_a_build(path, contents, caplog):
    """Calibrating again would give the order of the index again, so that is not the advice."""
    with caplog.at_level(logging.WARNING):
        assert usable_calibration(contents, spec(), [0, 0]) is None
    assert "run `lmm-classifier build` with this one, then `lmm-classifier calibrate`." in caplog.text


@pytest.mark.parametrize(
    "name",
    [
        "encoder.0.temperatures",
        "encoder.0.familiarity.knn_distance",
        "encoder.0.metric.projection",
        "cascade",
        "ladders",
        "confidence_threshold",
        "conformity_scores",
        "label_ids",
    ],
)
def test_damage_is_reported_and_the_rule_is_fitted_again(path, contents, name, caplog):
    """The answers are those of an index that was never calibrated."""
    queries = QueryVectors.given(random_embeddings(np.random.default_rng(5), 3, DIM))
    expected = Retriever.open(RetrievalConfig(), [Index.open(path)]).score(queries).log_probabilities
    damaged = replace(contents, calibration={**contents.calibration, name: np.array([-1.0])})
    state = load_calibration(damaged)
    assert isinstance(state, Stale)
    assert "damaged" in state.reason
    write_index(path, damaged)
    with caplog.at_level(logging.WARNING):
        retriever = Retriever.open(RetrievalConfig(), [Index.open(path)])
    assert "damaged" in caplog.text
    np.testing.assert_array_equal(retriever.score(queries).log_probabilities, expected)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("encoder.0.familiarity.knn_distance", lambda array: array[:-1]),
        ("encoder.0.familiarity.knn_distance", lambda array: np.where(array == array[3], np.nan, array)),
        ("held_out.familiarity", lambda array: array[None]),
        ("held_out.familiarity", lambda array: np.where(array == array[0], np.nan, array)),
        ("held_out.confidence", lambda array: array[1:]),
        ("held_out.confidence", lambda array: array + 1.001),
        ("held_out.correct", lambda array: array.astype(int)),
        ("tradeoff", lambda array: np.array(['{"auroc": 1.5, "accepted": []}'])),
        ("conformity_scores", lambda array: array[None]),
        ("conformity_scores", lambda array: np.append(array, 1.001)),
        ("conformity_scores", lambda array: np.append(array, -0.001)),
        ("confidence_threshold", lambda array: array * 0 + 1.001),
        ("confidence_threshold", lambda array: array * 0 - 0.001),
        ("confidence_threshold", lambda array: np.append(array, array)),
        ("date", lambda array: np.append(array, array)),
    ],
)
def test_a_number_that_cannot_be_is_damage(contents, name, damage):
    """One wrong number or shape is enough."""
    arrays = {**contents.calibration, name: damage(contents.calibration[name])}
    state = load_calibration(replace(contents, calibration=arrays), spec())
    assert isinstance(state, Stale)
    assert "damaged" in state.reason


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_limits_of_a_probability_are_probabilities(contents, threshold):
    """A threshold of 0 or 1, conformity scores of 0 and 1, and no threshold at all."""
    arrays = {**contents.calibration, "confidence_threshold": np.array([threshold])}
    arrays["conformity_scores"] = np.array([0.0, 0.5, 1.0])
    state = load_calibration(replace(contents, calibration=arrays), spec())
    assert state.calibration.confidence_threshold == threshold
    assert state.calibration.conformity_scores.tolist() == [0, 0.5, 1]
    arrays["confidence_threshold"] = np.array([np.nan])
    assert load_calibration(replace(contents, calibration=arrays)).calibration.confidence_threshold is None


def test_numbers_of_examples_follow_them(contents):
    """Distances and norms of examples that are still there move with them, also the first; others are missing."""
    stored = contents.calibration["encoder.0.familiarity.knn_distance"]
    norms = np.linspace(0, 2, len(LABELS))
    order = np.roll(np.arange(len(LABELS)), 1)  # the last example comes first, and the former first one is second
    moved = replace(
        contents,
        labels=[contents.labels[row] for row in order],
        paths=[contents.paths[row] for row in order],
        hashes=["f" * 64, *(contents.hashes[row] for row in order[1:])],
        calibration={**contents.calibration, "encoder.0.norms": norms},
    )
    calibration = load_calibration(moved, spec()).calibration
    np.testing.assert_array_equal(calibration.fits[0].familiarity.knn_distance[1:], stored[order[1:]])
    np.testing.assert_array_equal(calibration.fits[0].norms[1:], norms[order[1:]])
    assert np.isnan(calibration.fits[0].familiarity.knn_distance[0])
    assert np.isnan(calibration.fits[0].norms[0])
    damaged = replace(moved, calibration={**contents.calibration, "encoder.0.norms": norms - 0.001})
    assert load_calibration(damaged, spec()).calibration.fits[0].norms is None


def test_a_missing_array_is_damage(contents):
    """Each array is needed, so a calibration of another program version cannot be taken for one of this."""
    for name in (
        "rule",
        "vectors",
        "labels",
        "label_ids",
        "examples",
        "date",
        "warning",
        "tradeoff",
        "cascade",
        "ladders",
        "held_out.confidence",
        "held_out.correct",
        "held_out.familiarity",
        "encoder.0.losses",
        "encoder.0.familiarity.spread",
    ):
        arrays = {key: array for key, array in contents.calibration.items() if key != name}
        state = load_calibration(replace(contents, calibration=arrays))
        assert isinstance(state, Stale), name
        assert "damaged" in state.reason


@pytest.mark.parametrize("damage", [np.array([1.0]), np.full(len(LABELS), np.nan), np.full(len(LABELS), np.inf)])
def test_damaged_norms_are_computed_again(tmp_path, monkeypatch, caplog, damage):
    """The log says so; thresholds and everything else of the calibration stay in use."""
    monkeypatch.setattr("lmm_classifier.neighbors.metric.PROJECT_FROM", 0)
    path = write_clusters(tmp_path / "sound")
    calibrate_index(path, request=CalibrationRequest(keep_known=0.8))
    contents = Index.open(path).contents
    norms = contents.calibration["encoder.0.norms"]
    write_index(
        tmp_path / "damaged", replace(contents, calibration={**contents.calibration, "encoder.0.norms": damage})
    )
    with caplog.at_level(logging.WARNING):
        opened = Retriever.open(RetrievalConfig(), [Index.open(tmp_path / "damaged")])
    assert "norms stored with the calibration are damaged" in caplog.text
    np.testing.assert_array_equal(opened.encoders[0].metric_gallery.projected.norms, norms)
    assert opened.stored.keep_known == 0.8


def test_text_of_other_labels_is_dropped(tmp_path):
    """The stored texts are those of the former labels, so the rule works without them where a label is new."""
    labels = [*LABELS, "d"]
    path = write_clusters(tmp_path / "index.npz", labels)
    index = Index.open(path)
    fitted, _ = fit_by_leave_one_out(RetrievalConfig(), [index])
    text = ZeroShotText(random_embeddings(np.random.default_rng(0), 4, DIM), 0.1, 1.0)
    fit = replace(fitted.fits[0], rule=replace(fitted.fits[0].rule, text=text))
    arrays = replace(fitted, fits=(fit,)).to_arrays(index.contents)
    same = load_calibration(replace(index.contents, calibration=arrays))
    assert isinstance(same, Loaded)
    assert same.calibration.fits[0].rule.text is not None
    renamed = load_calibration(replace(index.contents, calibration=arrays, labels=[*LABELS, "e"]))
    assert isinstance(renamed, Loaded)
    assert renamed.calibration.fits[0].rule.text is None
    assert "The zero-shot text is not used, because it embeds other label names." in renamed.note


def relabeled(contents, names):
    """The same index with other names for some labels."""
    return replace(contents, labels=[names.get(label, label) for label in contents.labels])


def test_renamed_labels_carry_the_whole_calibration_over(path, contents):
    """Even where most examples have another name now: only the names of labels changed, and a note says which."""
    expected = load_calibration(contents, spec()).calibration
    state = load_calibration(relabeled(contents, {"a": "z", "b": "a", "c": "b"}), spec())
    assert isinstance(state, Loaded)
    assert state.note == "Labels were renamed since the calibration: a to z, b to a, c to b."
    assert state.calibration.confidence_threshold == expected.confidence_threshold
    found = state.calibration.fits[0].familiarity.knn_distance
    np.testing.assert_array_equal(found, expected.fits[0].familiarity.knn_distance)


def test_labels_that_were_merged_count_as_changed(contents):
    """The boundary that the rule was fitted to is gone."""
    state = load_calibration(relabeled(contents, {"b": "a"}), spec())
    assert isinstance(state, Stale)
    assert "50 of 150 examples were added or changed" in state.reason


def test_a_new_label_is_named_and_the_rest_carries_over(tmp_path):
    """The guarantee does not cover it."""
    labels = ["a"] * 60 + ["b"] * 50 + ["c"] * 40 + ["d"] * 60  # more than a quarter are new
    small, large = write_clusters(tmp_path / "small.npz", labels[:150]), write_clusters(tmp_path / "large.npz", labels)
    calibrate_index(small, request=CalibrationRequest(0.9))
    calibration = Index.open(small).contents.calibration
    state = load_calibration(replace(Index.open(large).contents, calibration=calibration), spec())
    assert isinstance(state, Loaded)
    assert "60 of 210 examples were added" in state.note
    assert "It does not know the new labels d." in state.note
    assert state.calibration.confidence_threshold == calibration["confidence_threshold"][0]


def test_a_stale_calibration_still_says_what_it_was_asked_for(contents):
    """So that it can be repeated; a damaged request is forgotten with a warning."""
    calibration = {**contents.calibration, "vectors": np.array(["other"])}
    assert isinstance(load_calibration(replace(contents, calibration=calibration)), Stale)
    assert stored_request(replace(contents, calibration=calibration)).target_precision == 0.9
    assert stored_request(replace(contents, calibration=None)) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"keep_known": 95}', '{"keep_known": "0.9"}', '{"unknown": 1}', "NaN"])
def test_a_damaged_request_is_forgotten(contents, caplog, text):
    """The thresholds of the calibration stay in use."""
    damaged = replace(contents, calibration={**contents.calibration, "request": np.array([text])})
    state = load_calibration(damaged, spec())
    assert isinstance(state, Loaded)
    assert state.calibration.request is None
    assert "so it is forgotten" in caplog.text
