"""A join gives the results of `classify` through the same store, to the last bit, and reads each label once."""

from dataclasses import replace

import numpy as np
import pytest

from lmm_classifier import HybridClassifier, calibrate_index
from lmm_classifier.calibration.fusion.cascade import Cascade, Stage
from lmm_classifier.calibration.fusion.encoder_fusion import EncoderFusion
from lmm_classifier.core.errors import ConfigError, EngineError
from lmm_classifier.distributed.answering import join, join_worker
from lmm_classifier.distributed.answering.answer_chunks import AnswerChunk, AnswerFolder
from lmm_classifier.distributed.answering.answer_worker import AnswerWorkerBuilder
from lmm_classifier.distributed.answering.classification import MOST_IMAGES, EngineClassifier
from lmm_classifier.distributed.answering.encoding_step import EncodingStep
from lmm_classifier.distributed.answering.join_tasks import EncodeTask, RangeTask
from lmm_classifier.distributed.answering.join_worker import JoinWorkerBuilder
from lmm_classifier.distributed.engines.choice import EngineChoice
from lmm_classifier.distributed.engines.local import InProcess, Processes
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.formats import write_calibration
from lmm_classifier.index.opening import open_searched
from lmm_classifier.index.vector_index import Index
from tests.helpers.command_line import run
from tests.helpers.ending_workers import EndingEncoder
from tests.helpers.tiny_onnx import write_tiny_onnx


@pytest.fixture(scope="module", params=["index", pytest.param("index.lance", marks=pytest.mark.long)])
def stored(request, labeled, tmp_path_factory):
    """The configuration of an index whose rows stay in a store, and images with bad ones."""
    if request.param == "index.lance":
        pytest.importorskip("lance", reason="needs lmm-classifier[lance]")
    folder = tmp_path_factory.mktemp("stored")
    build_index_from_directory(labeled.root, folder / "index", config=labeled.config)
    config = labeled.config.model_copy(deep=True)
    config.retrieval.index_path = folder / request.param
    config.retrieval.search = "store"
    if request.param == "index.lance":
        Index.open(folder / "index").save(folder / request.param)
    calibrate_index(config.retrieval.index_path, config)
    return config, sorted(labeled.root.rglob("*.png"))


@pytest.fixture
def small_steps(monkeypatch):
    """Several waves, and several ranges of labels."""
    monkeypatch.setattr(join, "WAVE", 2)
    monkeypatch.setattr(join_worker, "_RANGE_BYTES", 4 * 64 * 12)


def one_by_one(config, paths, leave_out):
    """Return the result of each image alone, by one classifier."""
    with HybridClassifier(config) as classifier:
        return [result for path in paths for result in classifier.classify_paths([path], leave_out)]


def lines(results):
    return [result.to_json() for result in results]


@pytest.mark.parametrize("leave_out", [pytest.param(False, marks=pytest.mark.long), True])
def test_answers_are_those_of_one_classifier(stored, small_steps, leave_out):
    """In several waves and ranges of labels; images that cannot be read have their reasons."""
    config, paths = stored
    expected = one_by_one(config, paths, leave_out)
    assert "unreadable" in {result.decision.reason for result in expected}
    found = list(EngineClassifier(config, InProcess(), leave_out, chunk_images=8).classify_paths(paths))
    assert found == expected
    assert lines(found) == lines(expected)


class Watched(InProcess):
    """Remembers the tasks, and may stop after some of them, as a killed program does."""

    def __init__(self, most=None):
        self.tasks, self.most, self.runs = [], most, 0

    def run(self, tasks, build):
        self.runs += 1
        for task in tasks:
            if len(self.tasks) == self.most:
                raise KeyboardInterrupt
            self.tasks.append(task)
            yield from super().run([task], build)


def test_labels_are_read_once_for_all_images_of_a_wave(stored):
    """By the tasks of the ranges: no label is in two of them."""
    config, paths = stored
    engine = Watched()
    list(EngineClassifier(config, engine, chunk_images=8).classify_paths(paths))
    ranges = [task for task in engine.tasks if isinstance(task, RangeTask)]
    labels = [label for task in ranges for label in task.label_ids]
    assert len(labels) == len(set(labels)) > 0
    assert sum(isinstance(task, EncodeTask) for task in engine.tasks) > 3


@pytest.mark.parametrize("waves", [1, 2, 16])
def test_waves_go_through_the_steps_together(stored, monkeypatch, tmp_path, waves):
    """So workers start three times for all of them, and files of decided waves are not kept to the end."""
    config, paths = stored
    monkeypatch.setattr(join, "WAVE", 2)
    monkeypatch.setattr(join, "WAVES", waves)
    engine, between = Watched(), []
    work = {"work": str(tmp_path), "identity": "the same", "chunk_images": 8}
    found = []
    for result in EngineClassifier(config, engine, **work).classify_paths(paths):
        found.append(result)
        between.append(len({path.name.partition(".")[0] for path in tmp_path.glob("queries/*/*.npz")}))
    with HybridClassifier(config) as classifier:
        assert found == list(classifier.classify_paths(paths))
    chunks = sum(isinstance(task, EncodeTask) for task in engine.tasks)
    assert engine.runs == 3 * -(-chunks // (2 * waves))
    assert max(between) == min(2 * waves, chunks)
    ranges = [task for task in engine.tasks if isinstance(task, RangeTask)]
    assert all(len(task.names) <= 2 for task in ranges)


def test_an_interrupted_join_resumes(stored, monkeypatch, tmp_path):
    """Images that were encoded are not encoded again; when all results were taken, no file is left."""
    config, paths = stored
    work = {"work": str(tmp_path), "identity": "the same", "chunk_images": 8}
    with pytest.raises(KeyboardInterrupt):
        list(EngineClassifier(config, Watched(most=3), **work).classify_paths(paths))
    encoded = []
    make = EncodingStep._encoded
    monkeypatch.setattr(EncodingStep, "_encoded", lambda step, places: encoded.extend(places) or make(step, places))
    found = list(EngineClassifier(config, Watched(), **work).classify_paths(paths))
    with HybridClassifier(config) as classifier:
        assert found == list(classifier.classify_paths(paths))
    assert 0 < len(encoded) < len(paths)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_index_that_changed_meanwhile_is_an_error(stored, tmp_path):
    """Pairs with rows of another version are no pairs."""
    config, paths = stored
    folder = AnswerFolder(str(tmp_path), "run")
    worker = JoinWorkerBuilder(AnswerWorkerBuilder(folder, config.model_dump()))()
    worker(EncodeTask(AnswerChunk(0, "a" * 32, tuple(paths[:3]))))
    folder.put_queries("b" * 32, 0, replace(folder.queries("a" * 32, 0), versions=["another"]))
    with pytest.raises(EngineError, match="index changed"):
        worker(RangeTask(("b" * 32,), 0, 0, 0, 4, (0,)))


def test_rows_in_memory_are_refused(stored, tmp_path):
    """There is nothing to join with."""
    config = stored[0].model_copy(deep=True)
    config.retrieval.search = "exact"
    builder = AnswerWorkerBuilder(AnswerFolder(str(tmp_path), "run"), config.model_dump())
    with pytest.raises(ConfigError, match="retrieval.search"):
        JoinWorkerBuilder(builder)()(EncodeTask(AnswerChunk(0, "a" * 32, ())))


@pytest.fixture(scope="module", params=["index", pytest.param("index.lance", marks=pytest.mark.long)])
def cascade(request, labeled, tmp_path_factory):
    """A store with two encoders, the second of which is asked about some images; and images with bad ones."""
    if request.param == "index.lance":
        pytest.importorskip("lance", reason="needs lmm-classifier[lance]")
    folder = tmp_path_factory.mktemp("cascade")
    config = labeled.config.model_copy(deep=True)
    (folder / "other").mkdir()
    first = config.encoders[0]
    config.encoder = [first, first.model_copy(update={"model": str(write_tiny_onnx(folder / "other", seed=7))})]
    build_index_from_directory(labeled.root, folder / "index", config=config)
    config.retrieval.index_path, config.retrieval.search = folder / request.param, "store"
    if request.param == "index.lance":
        Index.open(folder / "index").save(folder / request.param)
    calibrate_index(config.retrieval.index_path, config)
    paths = sorted(labeled.root.rglob("*.png"))
    contents = open_searched(config.retrieval)[0].contents
    with HybridClassifier(config) as classifier:
        results = [result for leave_out in (False, True) for result in classifier.classify_paths(paths, leave_out)]
    scores = [result.score for result in results if result.error is None]
    stages = [
        Stage((0,), EncoderFusion(np.ones(1)), float(np.median(scores))),
        Stage((0, 1), EncoderFusion(np.array([0.6, 0.4]))),
    ]
    arrays = {**contents.calibration, "cascade": np.array([Cascade(tuple(stages)).to_json()])}
    write_calibration(config.retrieval.index_path, contents, arrays)
    return config, paths


@pytest.mark.parametrize("leave_out", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_cascade_asks_the_second_encoder_about_the_unsure_images_alone(cascade, small_steps, monkeypatch, leave_out):
    """Its answers are those of one classifier, and it encodes no other image by the second encoder."""
    config, paths = cascade
    expected = one_by_one(config, paths, leave_out)
    asked = [path for path, result in zip(paths, expected) if len(result.encoders) == 2]
    assert 0 < len(asked) < len(paths) - 3
    encoded, make = [], EncodingStep._encoded

    def noted(step, places):
        encoded.extend((step.task.step, place) for place in places)
        return make(step, places)

    monkeypatch.setattr(EncodingStep, "_encoded", noted)
    engine = Watched()
    found = list(EngineClassifier(config, engine, leave_out, chunk_images=8).classify_paths(paths))
    assert found == expected
    assert lines(found) == lines(expected)
    assert [place for step, place in encoded if step == 1] == asked
    assert {task.encoder for task in engine.tasks if isinstance(task, RangeTask)} == {0, 1}


@pytest.mark.parametrize("done", [5, *(pytest.param(done, marks=pytest.mark.long) for done in (2, 7, 9))])
def test_an_interrupted_cascade_resumes(cascade, tmp_path, done):
    """In whichever step: no task that was done encodes or compares again."""
    config, paths = cascade
    work = {"work": str(tmp_path), "identity": "the same", "chunk_images": 16}
    first = Watched(most=done)
    with pytest.raises(KeyboardInterrupt):
        list(EngineClassifier(config, first, **work).classify_paths(paths))
    before = {path.relative_to(tmp_path): path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    assert before
    kept = {}

    class Looking(Watched):
        def run(self, tasks, build):
            yield from super().run(tasks, build)
            kept.update({path.relative_to(tmp_path): path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")})

    found = list(EngineClassifier(config, Looking(), **work).classify_paths(paths))
    with HybridClassifier(config) as classifier:
        assert found == list(classifier.classify_paths(paths))
    assert {path: kept[path] for path in before} == before
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_image_that_the_second_encoder_refuses_keeps_its_answer(cascade, monkeypatch):
    """As in one classifier; a warning says so there."""
    config, paths = cascade
    with HybridClassifier(config) as classifier:
        asked = [path for path in paths if len(next(iter(classifier.classify_paths([path]))).encoders) == 2]
    make = EncodingStep._encoded

    def refusing(step, places):
        found = make(step, places)
        if step.task.step == 0:
            return found
        return [
            replace(query, vectors=(), error="refused") if place == asked[0] else query
            for query, place in zip(found, places)
        ]

    monkeypatch.setattr(EncodingStep, "_encoded", refusing)
    found = list(EngineClassifier(config, InProcess(), chunk_images=8).classify_paths(paths))
    refused = found[paths.index(asked[0])]
    assert refused.error is None
    assert len(refused.encoders) == 1
    assert sum(len(result.encoders) == 2 for result in found) == len(asked) - 1


class EndingBuilder:
    """Makes workers whose encoder ends them."""

    def __init__(self, builder, first):
        self.builder, self.first = builder, first

    def __call__(self):
        worker = self.builder()
        encoders = worker.classifier._encoders
        ending = (EndingEncoder(encoder, (33, 17)) for encoder in encoders[self.first :])
        worker.classifier._encoders = (*encoders[: self.first], *ending)
        return worker


class EndingProcesses(Processes):
    """Processes that an image of one size ends, in the first encoder or in the second."""

    first = 0

    def run(self, tasks, build):
        return super().run(tasks, EndingBuilder(build, self.first))


class EndingLater(EndingProcesses):
    """The second encoder alone ends them."""

    first = 1


@pytest.mark.long
def test_an_image_that_ends_its_worker_is_reported(stored, tmp_path):
    """It alone; all others have the results of one classifier."""
    from PIL import Image

    config, paths = stored
    Image.new("RGB", (33, 17)).save(tmp_path / "ends.png")
    engine = EndingProcesses(2)
    found = list(
        EngineClassifier(config, engine, threads=1, chunk_images=16).classify_paths([*paths, tmp_path / "ends.png"])
    )
    with HybridClassifier(config) as classifier:
        assert found[:-1] == list(classifier.classify_paths(paths))
    assert (found[-1].decision.reason, found[-1].path) == ("unreadable", str(tmp_path / "ends.png"))
    assert "ended 3 times" in found[-1].error


@pytest.mark.long
def test_an_image_that_ends_the_worker_of_a_later_step_keeps_its_answer(cascade, tmp_path):
    """That of the encoders before; it alone, and all other images are asked about."""
    from PIL import Image

    config, paths = cascade
    tried = []
    for number in range(12):
        tried.append(tmp_path / f"{number:02}.png")
        Image.effect_noise((33, 17), 20 * number).convert("RGB").save(tried[-1])
    with HybridClassifier(config) as classifier:
        asked = [len(result.encoders) == 2 for result in classifier.classify_paths(tried)]
        ends = tried[asked.index(True)]
        expected = list(classifier.classify_paths(paths))
    assert sum(len(result.encoders) == 2 for result in expected) > 1
    found = list(EngineClassifier(config, EndingLater(2), threads=1, chunk_images=16).classify_paths([*paths, ends]))
    assert found[:-1] == expected
    assert (found[-1].error, len(found[-1].encoders)) == (None, 1)


@pytest.mark.long
@pytest.mark.parametrize("name", ["processes", "ray"])
def test_a_cascade_by_several_workers(name, cascade):
    """The results are those of one classifier."""
    if name == "ray":
        pytest.importorskip("ray", reason="ray is not installed")
    config, paths = cascade
    engine = EngineChoice(name, actors=2).open()
    found = list(EngineClassifier(config, engine, threads=1, chunk_images=8).classify_paths(paths))
    with HybridClassifier(config) as classifier:
        assert found == list(classifier.classify_paths(paths))


@pytest.mark.long
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_the_command_writes_the_same_lines(engine, stored, labeled, tmp_path):
    """By a join and by one process; the images of two chunks."""
    if engine == "ray":
        pytest.importorskip("ray", reason="ray is not installed")
    config, paths = stored
    for number in range(MOST_IMAGES + 1 - len(paths)):
        target = tmp_path / f"new/{number:04}.png"
        target.parent.mkdir(exist_ok=True)
        target.hardlink_to(paths[number % len(paths)])
    settings = ["--set", "encoder.backend=onnx", "--set", f"encoder.model={labeled.config.encoders[0].model}"]
    settings += ["--set", "rerank.enabled=false", "--set", "retrieval.search=store"]
    common = ["classify", "new", *map(str, paths), "--index", config.retrieval.index_path, *settings]
    run(*common, "--output", tmp_path / "one.jsonl", cwd=tmp_path, code=3)
    more = ["--engine", engine, "--actors", 2, "--work", "work"]
    run(*common, "--output", tmp_path / "many.jsonl", *more, cwd=tmp_path, code=3)
    one, many = ((tmp_path / name).read_text().splitlines() for name in ("one.jsonl", "many.jsonl"))
    assert len(one) == MOST_IMAGES + 1
    assert one == many
    assert [path for path in (tmp_path / "work").rglob("*") if path.is_file()] == []
