"""Coarse answers from end to end: calibrated, answered, followed through edits, and never without a guarantee."""

import logging
import shutil

import numpy as np
import pytest

from lmm_classifier.calibration.guarantees.risk_control import NEVER
from lmm_classifier.calibration.guarantees.threshold_setting import set_thresholds
from lmm_classifier.calibration.loading import usable_calibration
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.formats import read_index, write_calibration
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrator import calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.index_info import describe_index
from lmm_classifier.pipeline.run_identity import run_identity
from lmm_classifier.pipeline.stages.answer_options import AnswerOptions
from tests.helpers.vector_indexes import NESTED, nested_embeddings, write_nested, write_vectors

NEW, TRUTH = nested_embeddings(part=1)
REQUEST = CalibrationRequest(0.9)
THREE = {
    **{label: ("clothes", *steps) for label, steps in NESTED.items() if steps},
    "hat": ("head",),
    "cap": ("head",),
}


def configured(path, hierarchy=None):
    config = PipelineConfig.preset("vectors")
    config.retrieval.index_path = path
    config.hierarchy = hierarchy
    return config


def write_tree(folder, above=None, name="tree.yaml"):
    (folder / name).write_text(LabelHierarchy(above or NESTED).to_yaml())
    return folder / name


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A durable index of folders, calibrated with their hierarchy."""
    path = write_nested(tmp_path_factory.mktemp("roll_up") / "index", dataset="dataset#label_from=path")
    calibrate_index(path, configured(path), REQUEST)
    return path


@pytest.fixture
def index(made, tmp_path):
    shutil.copytree(made, tmp_path / "index", ignore=shutil.ignore_patterns("*.lock"))
    return tmp_path / "index"


def answers(config, options=None):
    with HybridClassifier(config) as classifier:
        return classifier.classify_vectors(NEW, *([options] if options else []))


def test_the_answer_is_the_finest_level_that_is_sure_enough(made):
    """A label, else its coarse label, else what happens otherwise; results say the way to it."""
    config = configured(made)
    with HybridClassifier(config) as classifier:
        results = classifier.classify_vectors(NEW)
        thresholds = classifier.thresholds
    least, coarse = thresholds.confidence.value, thresholds.coarse[1].value
    assert {result.level for result in results} == {0, 1, None}
    for result in results:
        best, reason = result.candidates[0], result.decision.reason
        together = {"tops": 0.0, "bottoms": 0.0}
        for candidate in result.candidates:
            for step in NESTED[candidate.label]:
                together[step] += candidate.score
        if reason == "novel":
            assert (result.label_path, result.level) == ((), None)
        elif reason == "rolled_up":
            assert best.score < least
            assert result.score == pytest.approx(together[result.label], abs=1e-6)
            assert result.score >= coarse
            assert (result.label_path, result.level) == ((result.label,), 1)
            assert result.to_dict()["label_path"] == [result.label]
            assert f"together {result.label}" in result.why
        else:
            assert (result.label, result.level) == (best.label, 0)
            assert result.label_path == (*NESTED[best.label], best.label)
            assert (best.score >= least) == (reason == "confident")
            assert reason == "confident" or max(together.values()) < coarse
    right = [result.label in (truth, *NESTED[truth]) for result, truth in zip(results, TRUTH) if result.level]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("kind", ["index", pytest.param("index.lance", marks=pytest.mark.long)])
def test_levels_through_a_store(made, tmp_path, kind):
    """They have thresholds of their own, and nearly the answers of a comparison with all rows."""
    if kind == "index.lance":
        pytest.importorskip("lance", reason="needs lmm-classifier[lance]")
        Index.open(made).save(tmp_path / kind)
    else:
        shutil.copytree(made, tmp_path / kind, ignore=shutil.ignore_patterns("*.lock"))
    config = configured(tmp_path / kind, write_tree(tmp_path))
    config.retrieval.search = "store"
    report = calibrate_index(tmp_path / kind, config, REQUEST)
    assert list(report.levels.coarse) == [1]
    found, expected = answers(config), answers(configured(made, write_tree(tmp_path)))
    assert {result.decision.reason for result in found} >= {"confident", "rolled_up"}
    assert np.mean([(one.label, one.level) == (other.label, other.level) for one, other in zip(found, expected)]) > 0.95
    right = [result.label in (truth, *NESTED[truth]) for result, truth in zip(found, TRUTH) if result.level]
    assert np.mean(right) > 0.9
    again = calibrate_index(tmp_path / kind, config, REQUEST)
    assert again.predictions is None  # thresholds alone: the calibration is of this hierarchy


@pytest.mark.long
def test_an_image_alone_has_the_same_answer(made):
    """Bit for bit, also of coarse labels."""
    with HybridClassifier(configured(made)) as classifier:
        together = classifier.classify_vectors(NEW)
        assert [classifier.classify_vectors(NEW[row : row + 1])[0] for row in range(40)] == together[:40]


@pytest.mark.long
def test_a_hierarchy_without_coarse_labels_changes_nothing(tmp_path):
    """The stored calibration and all answers are the same, bit by bit."""
    path = write_nested(tmp_path / "index.npz")
    flat = write_tree(tmp_path, dict.fromkeys(NESTED, ()))
    stored = []
    for config in (configured(path), configured(path, flat)):
        calibrate_index(path, config, REQUEST)
        stored.append((dict(read_index(path).calibration), [result.to_dict() for result in answers(config)]))
    (first, plain), (second, with_flat) = stored
    assert {name: array.tobytes() for name, array in first.items()} == {
        name: array.tobytes() for name, array in second.items()
    }
    assert plain == with_flat
    assert "label_path" not in plain[0]


@pytest.mark.parametrize(("noise", "expected"), [pytest.param(0.35, {0, 1}, marks=pytest.mark.long), (0.45, {1, 2})])
def test_three_levels(tmp_path, noise, expected):
    """The finest level comes first; level 2 is coarser than level 1."""
    drawn = {"above": THREE, "apart": 0.25, "noise": noise}
    vectors, labels = nested_embeddings(**drawn, count=80)
    path = write_vectors(tmp_path / "index.npz", labels, vectors)
    config = configured(path, write_tree(tmp_path, THREE))
    report = calibrate_index(path, config, CalibrationRequest(0.95))
    assert list(report.levels.coarse) == [2, 1]
    new, _ = nested_embeddings(**drawn, part=1, count=100)
    with HybridClassifier(config) as classifier:
        results = classifier.classify_vectors(new)
        thresholds = classifier.thresholds
    levels = {result.level: result for result in results}
    assert set(levels) - {None} == expected
    for level, result in levels.items():
        if level:
            assert len(result.label_path) == 3 - level
            assert result.score >= thresholds.coarse[3 - level].value
            assert thresholds.to_dict()[f"coarse_threshold_{level}"] == thresholds.coarse[3 - level].to_dict()


@pytest.mark.long
def test_labels_of_a_request_have_no_coarse_answer(made):
    """A coarse label is none of those that were asked for; of `labels` of the configuration it may be one."""
    results = answers(configured(made), AnswerOptions(labels=["shirt", "skirt"], allow_unknown=False))
    assert {result.level for result in results} == {0}
    assert {result.label for result in results} <= {"shirt", "skirt"}
    config = configured(made)
    config.labels = ["shirt", "blouse", "hat"]
    given = {result.label for result in answers(config) if result.level}
    assert given <= {"tops"}


@pytest.mark.long
def test_without_a_guarantee_no_coarse_label_is_given(index, tmp_path, caplog):
    """Not before a calibration, not without a target, not where labels were moved; a warning says why."""
    tree = write_tree(tmp_path)
    plain = write_nested(tmp_path / "plain.npz")

    def levels(config):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = {result.level for result in answers(config)}
        return found, caplog.text

    found, log = levels(configured(plain, tree))
    assert 1 not in found
    assert "was not calibrated with the hierarchy" in log
    calibrate_index(plain, configured(plain, tree))
    found, log = levels(configured(plain, tree))
    assert 1 not in found
    assert "no target precision was asked for" in log
    calibrate_index(plain, configured(plain, tree), REQUEST)
    found, log = levels(configured(plain, tree))
    assert 1 in found
    assert "coarse" not in log
    moved = write_tree(tmp_path, {**NESTED, "hat": ("tops",)}, "moved.yaml")
    found, log = levels(configured(plain, moved))
    assert 1 not in found
    assert "labels stand elsewhere" in log


@pytest.mark.long
def test_edits_keep_the_hierarchy_true(index, tmp_path, caplog):
    """A renamed label stays where it was, in folders and in a file; a new one stands at the root."""
    tree = write_tree(tmp_path)
    editor = IndexEditor(index, configured(index))
    ids = [path for path, label in zip(read_index(index).paths, read_index(index).labels) if label == "shirt"]
    editor.relabel(ids, "tee")
    for config in (configured(index), configured(index, tree)):
        with HybridClassifier(config) as classifier:
            results = classifier.classify_vectors(NEW)
            assert classifier.roll_up.hierarchy.path("tee") == ("tops", "tee")
        assert 1 in {result.level for result in results}
        assert ("tops", "tee") in {result.label_path for result in results}
    editor.relabel(ids[:20], "new")
    for config in (configured(index), configured(index, tree)):
        with HybridClassifier(config) as classifier:
            place = classifier.roll_up.hierarchy.path("new")
        assert place == (("tops", "new") if config.hierarchy is None else ("new",))


def test_a_classifier_follows_an_edit(index):
    """An open one too; a label that takes the name of a coarse one ends its answers, and stops nothing."""
    with HybridClassifier(configured(index)) as classifier:
        assert 1 in {result.level for result in classifier.classify_vectors(NEW)}
        contents = read_index(index)
        ids = [path for path, label in zip(contents.paths, contents.labels) if label == "hat"]
        IndexEditor(index, configured(index)).relabel(ids[:3], "tops")
        results = classifier.classify_vectors(NEW)
        assert classifier.roll_up.hierarchy.coarse_labels == {"bottoms"}
        assert "tops" not in {result.label for result in results if result.level}


@pytest.mark.long
def test_a_slip_in_the_file_stops_no_answer(index, tmp_path, caplog):
    """A running classifier keeps the former hierarchy when the index changes; one that starts is told of the fault."""
    tree = write_tree(tmp_path, NESTED)
    config = configured(index, tree)
    with HybridClassifier(config) as classifier:
        before = {result.label for result in classifier.classify_vectors(NEW)}
        tree.write_text("tops: [shirt, shirt]\n")
        IndexEditor(index, config).relabel([read_index(index).paths[0]], "new")
        with caplog.at_level(logging.WARNING):
            results = classifier.classify_vectors(NEW)
        assert classifier.index.contents.version == read_index(index).version
        assert {result.label for result in results if result.level} <= before
        assert classifier.roll_up.hierarchy.coarse_labels == {"tops", "bottoms"}
    assert "the former one stays" in caplog.text
    with pytest.raises(ConfigError, match="stand in it twice"):
        HybridClassifier(config)


def test_thresholds_are_set_again_without_a_fit(index):
    """They are those of `calibrate`, and they are shown with their source."""
    config = configured(index)
    set_thresholds(index, config.retrieval, CalibrationRequest(0.92))
    quick = dict(read_index(index).calibration)
    calibrate_index(index, config, CalibrationRequest(0.92))
    slow = dict(read_index(index).calibration)
    assert {name: quick[name].tobytes() for name in quick} == {name: slow[name].tobytes() for name in slow}
    stored = usable_calibration(read_index(index))
    shown = describe_index(index)["thresholds"]
    assert shown["coarse_threshold_1"]["value"] == stored.hierarchy.thresholds[1]
    assert "certified" not in shown["coarse_threshold_1"]["source"]
    by_hand = PipelineConfig()
    by_hand.retrieval.confidence_threshold = 0.99
    shown = describe_index(index, by_hand)["thresholds"]
    assert "not certified with this confidence_threshold" in shown["coarse_threshold_1"]["source"]


@pytest.mark.long
def test_a_threshold_that_nothing_reaches_is_stored(index):
    """Where only coarse labels have a guarantee, no label is given at once, not even at a probability of 1."""
    contents = read_index(index)
    write_calibration(index, contents, {**contents.calibration, "confidence_threshold": np.array([NEVER])})
    results = answers(configured(index))
    assert "confident" not in {result.decision.reason for result in results}
    assert 1 in {result.level for result in results}


@pytest.mark.long
def test_the_run_depends_on_the_hierarchy(made, tmp_path):
    """On what is in the file, not on its name; without one the identity is what it was."""
    plain = write_nested(tmp_path / "plain.npz")
    first, same = write_tree(tmp_path, name="a.yaml"), write_tree(tmp_path, name="b.yaml")
    other = write_tree(tmp_path, {**NESTED, "hat": ("tops",)}, "c.yaml")

    def identity(hierarchy):
        with HybridClassifier(configured(plain, hierarchy)) as classifier:
            return run_identity(classifier)

    assert identity(first) == identity(same)
    assert len({identity(None), identity(first), identity(other)}) == 3
