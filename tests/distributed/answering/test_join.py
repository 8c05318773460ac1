"""A join gives the results of `classify` through the same store, to the last bit, and reads each label once."""

import os
from dataclasses import replace

import pytest

from lmm_classifier import HybridClassifier, calibrate_index
from lmm_classifier.core.errors import ConfigError, EngineError
from lmm_classifier.distributed.answering import join, join_worker
from lmm_classifier.distributed.answering.answer_chunks import AnswerChunk, AnswerFolder
from lmm_classifier.distributed.answering.answer_worker import AnswerWorkerBuilder
from lmm_classifier.distributed.answering.classification import MOST_IMAGES, EngineClassifier
from lmm_classifier.distributed.answering.join_worker import EncodeTask, JoinWorkerBuilder, RangeTask
from lmm_classifier.distributed.engines.local import InProcess, Processes
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.vector_index import Index
from tests.helpers.command_line import run


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


def lines(results):
    return [result.to_json() for result in results]


@pytest.mark.parametrize("leave_out", [pytest.param(False, marks=pytest.mark.long), True])
def test_answers_are_those_of_one_classifier(stored, monkeypatch, leave_out):
    """In several waves and ranges of labels; images that cannot be read have their reasons."""
    config, paths = stored
    monkeypatch.setattr(join, "WAVE", 2)
    monkeypatch.setattr(join_worker, "_RANGE_BYTES", 4 * 64 * 12)
    with HybridClassifier(config) as classifier:
        expected = [result for path in paths for result in classifier.classify_paths([path], leave_out)]
    assert "unreadable" in {result.decision.reason for result in expected}
    found = list(EngineClassifier(config, InProcess(), leave_out, chunk_images=8).classify_paths(paths))
    assert found == expected
    assert lines(found) == lines(expected)


class Watched(InProcess):
    """Remembers the tasks, and may stop after some of them, as a killed program does."""

    def __init__(self, most=None):
        self.tasks, self.most = [], most

    def run(self, tasks, build):
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


def test_an_interrupted_join_resumes(stored, monkeypatch, tmp_path):
    """Images that were encoded are not encoded again; when all results were taken, no file is left."""
    config, paths = stored
    work = {"work": str(tmp_path), "identity": "the same", "chunk_images": 8}
    with pytest.raises(KeyboardInterrupt):
        list(EngineClassifier(config, Watched(most=3), **work).classify_paths(paths))
    encoded = []
    make = join_worker.JoinWorker._encoded
    monkeypatch.setattr(
        join_worker.JoinWorker, "_encoded", lambda worker, places: encoded.extend(places) or make(worker, places)
    )
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
    folder.put_queries("b" * 32, replace(folder.queries("a" * 32), version="another"))
    with pytest.raises(EngineError, match="index changed"):
        worker(RangeTask(("b" * 32,), 0, 4, (0,)))


def test_rows_in_memory_are_refused(stored, tmp_path):
    """There is nothing to join with."""
    config = stored[0].model_copy(deep=True)
    config.retrieval.search = "exact"
    builder = AnswerWorkerBuilder(AnswerFolder(str(tmp_path), "run"), config.model_dump())
    with pytest.raises(ConfigError, match="retrieval.search"):
        JoinWorkerBuilder(builder)()(EncodeTask(AnswerChunk(0, "a" * 32, ())))


class Ending:
    """An encoder that ends its process at an image of one size, as native code may."""

    def __init__(self, encoder):
        self._encoder = encoder

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def preprocess(self, image):
        if image.size == (33, 17):
            os._exit(1)
        return self._encoder.preprocess(image)


class EndingBuilder:
    """Makes workers whose encoder ends them."""

    def __init__(self, builder):
        self.builder = builder

    def __call__(self):
        worker = self.builder()
        worker.classifier._encoders = tuple(Ending(encoder) for encoder in worker.classifier._encoders)
        return worker


class EndingProcesses(Processes):
    """Processes that an image of one size ends."""

    def run(self, tasks, build):
        return super().run(tasks, EndingBuilder(build))


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
