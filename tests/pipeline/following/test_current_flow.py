"""A running classifier follows its index, and says from which version its answers come."""

import gc
import logging
import shutil
import weakref

import numpy as np
import pytest

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.storage.database import FILE
from lmm_classifier.pipeline.calibrator import CalibrationRequest, calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers.datasets import draw_dataset, offline_config


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    root = tmp_path_factory.mktemp("current-flow")
    dataset = draw_dataset(root / "dataset", ("stripes", "gingham", "polka_dots"), count=4, size=48)
    build_index_from_directory(dataset, root / "index", config=offline_config(root / "index"))
    return root


@pytest.fixture
def index(original, tmp_path):
    return shutil.copytree(original / "index", tmp_path / "index")


def config_of(index, **settings):
    return offline_config(index, rerank__enabled=False, retrieval__open_set_threshold=-1.0, **settings)


def an_image(label="stripes"):
    return draw(label, np.random.default_rng(7), 48)


def labels_of(result):
    return {candidate.label for candidate in result.candidates}


def test_a_configured_label_that_is_removed_is_not_answered_any_more(index, caplog):
    """A warning names it; it is answered again when it has an example again."""
    config = config_of(index)
    config.labels = ["stripes", "gingham"]
    classifier, editor = HybridClassifier(config), IndexEditor(index, config)
    removed = editor.examples_of("gingham")
    editor.remove(removed)
    with caplog.at_level(logging.WARNING):
        assert labels_of(classifier.classify(an_image("gingham"))) == {"stripes"}
    assert "No example of 'gingham'" in caplog.text
    editor.add([an_image("gingham")], "gingham")
    assert labels_of(classifier.classify(an_image("gingham"))) == {"stripes", "gingham"}


def test_without_any_configured_label_each_call_is_refused(index):
    """It never answers with an image that was removed."""
    config = config_of(index)
    config.labels = ["stripes"]
    classifier, editor = HybridClassifier(config), IndexEditor(index, config)
    editor.remove(editor.examples_of("stripes"))
    for _ in range(2):
        with pytest.raises(ConfigError, match="'stripes' not in the index"):
            classifier.classify(an_image())
    editor.add([an_image()], "stripes")
    assert classifier.classify(an_image()).label == "stripes"


def test_an_index_that_cannot_be_opened_is_tried_again_when_it_changes(index, caplog):
    """Until then the former version answers, and a warning says so."""
    classifier = HybridClassifier(config_of(index))
    before = classifier.index.contents.version
    sound = (index / FILE).read_bytes()
    (index / FILE).unlink()
    (index / FILE).write_bytes(b"nonsense" * 1000)
    with caplog.at_level(logging.WARNING):
        assert classifier.index.contents.version == before
    assert f"Answers come from the former version {before} with 12 examples" in caplog.text
    (index / FILE).write_bytes(sound)
    editor = IndexEditor(index, config_of(index))
    editor.remove(editor.examples_of("stripes")[:1])
    assert (classifier.index.contents.version, len(classifier.index)) == (before + 1, 11)


def test_a_failure_that_leaves_no_trace_in_the_file_is_tried_again_later(index, monkeypatch):
    """Such as too many open files: an interval passes, and the unchanged index is opened."""
    classifier = HybridClassifier(config_of(index))
    now = [1000.0]
    monkeypatch.setattr("lmm_classifier.pipeline.following.current_flow.time.monotonic", lambda: now[0])
    editor = IndexEditor(index, config_of(index))
    editor.remove(editor.examples_of("stripes")[:1])
    with monkeypatch.context() as patch:
        patch.setattr("lmm_classifier.pipeline.following.current_flow.open_index", _too_many_open_files)
        assert len(classifier.index) == 12
    assert len(classifier.index) == 12  # not yet
    now[0] += 1.0
    assert len(classifier.index) == 11


def _too_many_open_files(*_):
    raise OSError(24, "Too many open files")


def test_a_new_calibration_and_a_new_build_of_the_same_version_are_followed(index, original):
    """The number of the version alone does not tell them."""
    classifier = HybridClassifier(config_of(index))
    version = classifier.index.contents.version
    assert classifier.retriever.stored is None
    calibrate_index(index, config_of(index), CalibrationRequest())
    assert classifier.retriever.stored is not None
    shutil.rmtree(index)
    dataset = shutil.copytree(original / "dataset", index.parent / "dataset")
    shutil.rmtree(dataset / "polka_dots")
    build_index_from_directory(dataset, index, config=config_of(index))
    assert classifier.index.contents.version == version
    assert list(classifier.index.label_names) == ["gingham", "stripes"]


@pytest.mark.parametrize("settings", [{}, {"rerank__enabled": True, "rerank__gate__mode": "threshold"}])
def test_former_versions_are_freed_at_once(index, settings):
    """No cycle of references keeps their matrix in memory until the garbage collector runs."""
    config = offline_config(index, retrieval__open_set_threshold=-1.0, retrieval__confidence_threshold=1.0, **settings)
    config.labels = ["stripes", "gingham"]
    classifier, editor = HybridClassifier(config), IndexEditor(index, config)
    classifier.classify(an_image())
    example = editor.examples_of("stripes")[0]
    gc.collect()
    gc.disable()
    try:
        former = [weakref.ref(part) for part in (classifier.retriever, classifier.index, classifier.index.gallery)]
        editor.relabel([example], "gingham")
        classifier.classify(an_image())
        assert [part() for part in former] == [None] * 3
    finally:
        gc.enable()
