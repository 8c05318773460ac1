"""A running classifier follows its index, and says from which version its answers come."""

import gc
import logging
import multiprocessing
import pickle
import shutil
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier.core.errors import ClosedError, ConfigError
from lmm_classifier.core.progress import Progress
from lmm_classifier.data.synthetic.catalog import draw
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.storage.database import FILE
from lmm_classifier.pipeline.calibrator import CalibrationRequest, calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.following import current_flow
from tests.helpers.datasets import draw_dataset, offline_config

LONG = 60  # seconds; only a broken test waits that long


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


@pytest.mark.long
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


def answers(classifier, index, *images):
    with HybridClassifier(config_of(index)) as fresh:
        return [fresh.classify(image) for image in images], [classifier.classify(image) for image in images]


def test_in_the_background_the_former_version_answers_until_the_next_is_ready(index, monkeypatch):
    """No call waits: not while the next version is opened, and not for its fit."""
    began, go_on, opened = threading.Event(), threading.Event(), current_flow.open_index

    def slowly(*arguments):
        began.set()
        assert go_on.wait(LONG)
        return opened(*arguments)

    with HybridClassifier(config_of(index)) as classifier:
        monkeypatch.setattr(current_flow, "open_index", slowly)
        classifier.follow_in_background()
        before, editor = classifier.index_version, IndexEditor(index, config_of(index))
        assert classifier.index_lag == 0
        editor.add([an_image("gingham")], "new")
        assert began.wait(LONG)
        editor.add([an_image("stripes")], "new")  # while the version before it is opened
        assert classifier.classify(an_image()).label
        assert classifier.index_version == before
        assert classifier.index_lag > 0
        assert not classifier.wait_for_index(0)
        go_on.set()
        assert classifier.wait_for_index(LONG)
        assert classifier.index_lag == 0
        assert classifier.index_version == before + 2
        assert "new" in labels_of(classifier.classify(an_image()))


def test_in_the_background_an_uncalibrated_fit_is_carried_until_too_much_changed(index):
    """Then it is fitted again, and the answers are those of a classifier that is opened anew."""
    config, images = config_of(index), [an_image(label) for label in ("stripes", "gingham")]
    editor = IndexEditor(index, config)
    with HybridClassifier(config) as classifier:
        classifier.follow_in_background()
        editor.remove(editor.examples_of("stripes")[:1])
        assert classifier.wait_for_index(LONG)
        assert classifier.retriever.is_carried
        editor.remove([editor.examples_of(label)[0] for label in ("stripes", "gingham", "polka_dots")])
        assert classifier.wait_for_index(LONG)
        assert not classifier.retriever.is_carried
        fresh, followed = answers(classifier, index, *images)
        assert fresh == followed
        calibrate_index(index, config, CalibrationRequest())
        assert classifier.wait_for_index(LONG)
        assert classifier.retriever.fitted is None
        fresh, followed = answers(classifier, index, *images)
        assert fresh == followed


def test_without_a_background_nothing_is_carried(index):
    """The next call uses the newest version, and answers as a classifier that is opened anew."""
    editor = IndexEditor(index, config_of(index))
    with HybridClassifier(config_of(index)) as classifier:
        editor.remove(editor.examples_of("stripes")[:1])
        fresh, followed = answers(classifier, index, an_image())
        assert fresh == followed
        assert not classifier.retriever.is_carried
        assert classifier.wait_for_index(0)


def passes_and_counts(now, classifier):
    """Let a second pass: the thread may read the clock only after the failure was seen here."""
    now[0] += 1.0
    return classifier.wait_for_index(0.1)


def test_in_the_background_a_failure_is_tried_again_and_lost_labels_are_refused(index, monkeypatch):
    """As when the next call follows."""
    config = config_of(index)
    config.labels = ["stripes"]
    now, tried = [1000.0], threading.Event()

    def fails(*_):
        tried.set()
        raise OSError(24, "Too many open files")

    with HybridClassifier(config) as classifier:
        monkeypatch.setattr(current_flow.time, "monotonic", lambda: now[0])
        opened = current_flow.open_index
        monkeypatch.setattr(current_flow, "open_index", fails)
        classifier.follow_in_background()
        editor = IndexEditor(index, config)
        removed = editor.examples_of("stripes")
        editor.remove(removed[:1])
        assert tried.wait(LONG)
        assert not classifier.wait_for_index(0)
        monkeypatch.setattr(current_flow, "open_index", opened)
        assert any(passes_and_counts(now, classifier) for _ in range(10 * LONG))
        editor.remove(removed[1:])
        refused = threading.Event()
        for _ in range(LONG * 20):
            try:
                classifier.classify(an_image())
            except ConfigError as error:
                assert "'stripes' not in the index" in str(error)
                refused.set()
                break
            refused.wait(0.05)
        assert refused.is_set()
        editor.add([an_image()], "stripes")
        assert classifier.wait_for_index(LONG)
        assert classifier.classify(an_image()).label == "stripes"


def test_closing_ends_the_background_also_while_it_fits(index, followers, monkeypatch):
    """The fit is given up at its next block; a pickled copy follows in a thread of its own."""
    began = threading.Event()

    def endless_fit(*_, progress, **__):
        began.set()
        while True:
            progress(Progress("fitting", 1, 2))

    classifier = HybridClassifier(config_of(index))
    classifier.follow_in_background()
    classifier.follow_in_background()
    with pickle.loads(pickle.dumps(classifier)) as other:
        assert len(followers()) == 2
        assert other._current_flow.in_background
    assert len(followers()) == 1
    monkeypatch.setattr("lmm_classifier.pipeline.retrieval.retriever.fit_by_leave_one_out", endless_fit)
    editor = IndexEditor(index, config_of(index))
    editor.remove(editor.examples_of("stripes") + editor.examples_of("gingham")[:2])
    assert began.wait(LONG)
    classifier.close()
    assert followers() == []
    with pytest.raises(ClosedError):
        classifier.index_lag  # noqa: B018


def _follows_in_the_child(classifier, index, followers, versions):
    editor = IndexEditor(index, config_of(index))
    editor.remove(editor.examples_of("gingham")[:1])
    assert classifier.wait_for_index(LONG)
    versions.put((classifier.index_version, len(followers())))
    classifier.close()
    versions.put((-1, len(followers())))


def test_a_forked_process_follows_in_the_background_too(index, followers):
    """With a thread of its own, which its own `close` ends."""
    with HybridClassifier(config_of(index)) as classifier:
        classifier.follow_in_background()
        before, context = classifier.index_version, multiprocessing.get_context("fork")
        versions = context.Queue()
        child = context.Process(target=_follows_in_the_child, args=(classifier, index, followers, versions))
        child.start()
        assert versions.get(timeout=LONG) == (before + 1, 1)
        assert versions.get(timeout=LONG) == (-1, 0)
        child.join(LONG)
        assert classifier.wait_for_index(LONG)
        assert classifier.index_version == before + 1
    assert followers() == []


def test_an_adaptation_is_repeated_for_each_version(index):
    """What was fitted to new images is fitted again to the examples that are there then."""
    classifier = HybridClassifier(config_of(index))
    seen = []

    def adapted(flow):
        seen.append(flow.index.contents.version)
        return replace(flow, adaptations=(*flow.adaptations, "tried"))

    classifier._current_flow.adapt(adapted)
    IndexEditor(index, classifier.config).remove(["gingham/00.png"])
    assert classifier.classify(an_image()).adaptations == ("tried",)
    assert seen == [classifier.index_version - 1, classifier.index_version]
    classifier.close()
    with pytest.raises(ClosedError):
        classifier._current_flow.adapt(adapted)
