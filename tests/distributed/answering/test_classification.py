"""Workers answer as one classifier does, in the order of the images."""

import json
import os
from dataclasses import replace

import pytest

from lmm_classifier.core.errors import ConfigError, EngineError
from lmm_classifier.data.readers.opening import find_in_source
from lmm_classifier.distributed.answering.classification import EngineClassifier
from lmm_classifier.distributed.engines.local import InProcess, Processes
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from tests.helpers import dataset_sources
from tests.helpers.command_line import run


@pytest.fixture(scope="module")
def indexed(labeled, tmp_path_factory):
    """The configuration of an index of the labeled, and the images of the labeled with a bad one."""
    path = tmp_path_factory.mktemp("indexed") / "index"
    build_index_from_directory(labeled.root, path, config=labeled.config)
    config = labeled.config.model_copy(deep=True)
    config.retrieval.index_path = path
    return config, sorted(labeled.root.rglob("*.png"))


class Reversed(InProcess):
    """Gives the outcomes in the wrong order, and the first one twice."""

    def run(self, tasks, build):
        outcomes = list(super().run(tasks, build))
        yield from [*reversed(outcomes), outcomes[0]]


def test_workers_answer_as_one_classifier(indexed):
    """Whatever the order of arrival; a file that cannot be read has its reason."""
    config, paths = indexed
    expected = list(HybridClassifier(config).classify_paths(paths))
    assert "unreadable" in {result.decision.reason for result in expected}
    assert list(EngineClassifier(config, Reversed(), threads=1, chunk_images=5).classify_paths(paths)) == expected
    assert list(EngineClassifier(config, InProcess()).classify_paths([])) == []


def test_leaving_out_identical_images_is_the_same(indexed):
    """Each worker leaves them out."""
    config, paths = indexed
    expected = list(HybridClassifier(config).classify_paths(paths[:9], leave_out_identical=True))
    found = EngineClassifier(config, InProcess(), leave_out_identical=True, chunk_images=4).classify_paths(paths[:9])
    assert list(found) == expected


def test_two_runs_with_one_folder_both_have_all_results(indexed, tmp_path):
    """The first to end deletes what the other has not taken yet, which classifies those images again."""
    config, paths = indexed
    expected = list(HybridClassifier(config).classify_paths(paths))
    both = [
        EngineClassifier(config, InProcess(), chunk_images=8, work=str(tmp_path), identity="same").classify_paths(paths)
        for _ in range(2)
    ]
    begun = [[next(results)] for results in both]
    for started, results in zip(begun, both):
        assert [*started, *results] == expected


def test_a_lost_chunk_is_an_error(indexed):
    """And no result is left out in silence."""

    class Losing(InProcess):
        def run(self, tasks, build):
            yield from super().run(list(tasks)[:1], build)

    config, paths = indexed
    with pytest.raises(EngineError, match=r"[1-9] of [2-9] chunks have no results"):
        list(EngineClassifier(config, Losing(), chunk_images=3).classify_paths(paths[:9]))
    with pytest.raises(ConfigError, match="at least 1"):
        EngineClassifier(config, InProcess(), chunk_images=0)


class Counting(InProcess):
    """Counts the images that workers are given, and may stop after some chunks as a killed program does."""

    def __init__(self, most=None):
        self.given, self.most = 0, most

    def run(self, tasks, build):
        for number, task in enumerate(tasks):
            if number == self.most:
                raise KeyboardInterrupt
            self.given += len(task.places)
            yield from super().run([task], build)


@pytest.mark.long
def test_an_interrupted_run_resumes(indexed, tmp_path):
    """Chunks that are there are not classified again; when all results were taken, no file is left."""
    config, paths = indexed
    expected = list(HybridClassifier(config).classify_paths(paths))
    work = {"work": str(tmp_path), "identity": "the same", "chunk_images": 4}
    first = Counting(most=4)
    taken = []
    with pytest.raises(KeyboardInterrupt):
        for result in EngineClassifier(config, first, **work).classify_paths(paths):
            taken.append(result)
    assert 0 < len(taken) == first.given < len(paths)
    other = Counting()
    list(EngineClassifier(config, other, **{**work, "identity": "another"}).classify_paths(paths))
    assert other.given == len(paths)
    second = Counting()
    assert list(EngineClassifier(config, second, **work).classify_paths(paths)) == expected
    assert second.given == len(paths) - first.given
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class Ending:
    """A classifier whose process ends at one image, as native code may end it."""

    def __init__(self, classifier, name):
        self.classifier, self.name = classifier, name

    def __getattr__(self, name):
        return getattr(self.classifier, name)

    def classify_paths(self, places, *options):
        for place, result in zip(places, self.classifier.classify_paths(places, *options), strict=True):
            if place.name == self.name:
                os._exit(1)
            yield result


class EndingBuilder:
    """Makes workers that one image ends."""

    def __init__(self, builder, name):
        self.builder, self.name = builder, name

    def __call__(self):
        worker = self.builder()
        return replace(worker, classifier=Ending(worker.classifier, self.name))


class EndingProcesses(Processes):
    """Processes that the image `double.png` ends."""

    def run(self, tasks, build):
        return super().run(tasks, EndingBuilder(build, "double.png"))


@pytest.mark.long
def test_an_image_that_ends_its_worker_is_reported(indexed):
    """It alone: all other images have their results, in order."""
    config, paths = indexed
    expected = list(HybridClassifier(config).classify_paths(paths))
    found = list(EngineClassifier(config, EndingProcesses(2), threads=1, chunk_images=16).classify_paths(paths))
    assert [result.path for result in found] == [result.path for result in expected]
    bad = [result for result in found if result.path.endswith("double.png")]
    assert [(result.decision.reason, result.is_unknown) for result in bad] == [("unreadable", True)]
    assert "ended 3 times" in bad[0].error
    others = [result for result in expected if not result.path.endswith("double.png")]
    assert [result for result in found if result not in bad] == others


@pytest.mark.long
@pytest.mark.parametrize("source", ["zipped", "shards", "parquet_images", "hugging_face"])
def test_images_of_any_source_reach_the_workers(source, labeled, indexed, tmp_path):
    """Members of archives and rows of tables are opened again in their processes."""
    images = {
        path.relative_to(labeled.root).as_posix(): path.read_bytes() for path in sorted(labeled.root.glob("stripes/0*"))
    }
    spec = getattr(dataset_sources, source)(tmp_path, images)
    places = find_in_source(spec, indexed[0].images).places
    expected = list(HybridClassifier(indexed[0]).classify_paths(places))
    found = list(EngineClassifier(indexed[0], Processes(2), threads=1, chunk_images=3).classify_paths(places))
    assert found == expected


@pytest.mark.long
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_the_command_writes_the_same_file(engine, labeled, indexed, tmp_path):
    """By an engine and by one process; images are named as they were given."""
    if engine == "ray":
        pytest.importorskip("ray", reason="ray is not installed")
    settings = ["--set", "encoder.backend=onnx", "--set", f"encoder.model={labeled.config.encoders[0].model}"]
    common = ["classify", "images/stripes", "--index", indexed[0].retrieval.index_path, *settings]
    common += ["--set", "rerank.enabled=false"]
    run(*common, "--output", tmp_path / "one.jsonl", cwd=labeled.root.parent, code=3)
    more = ["--engine", engine, "--actors", 2]
    run(*common, "--output", tmp_path / "many.jsonl", *more, cwd=labeled.root.parent, code=3)
    one, many = ((tmp_path / name).read_text().splitlines() for name in ("one.jsonl", "many.jsonl"))
    assert list(map(json.loads, one)) == list(map(json.loads, many))
    assert len(one) > 8
