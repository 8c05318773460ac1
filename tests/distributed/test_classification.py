"""Workers answer as one classifier does, in the order of the images."""

import json

import pytest

from lmm_classifier.core.errors import ConfigError, EngineError
from lmm_classifier.data.readers.opening import find_in_source
from lmm_classifier.distributed.classification import EngineClassifier
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
    assert list(EngineClassifier(config, Reversed(), threads=1, task_images=5).classify_paths(paths)) == expected
    assert list(EngineClassifier(config, InProcess()).classify_paths([])) == []


def test_leaving_out_identical_images_is_the_same(indexed):
    """Each worker leaves them out."""
    config, paths = indexed
    expected = list(HybridClassifier(config).classify_paths(paths[:9], leave_out_identical=True))
    found = EngineClassifier(config, InProcess(), leave_out_identical=True, task_images=4).classify_paths(paths[:9])
    assert list(found) == expected


def test_a_lost_task_is_an_error(indexed):
    """And no result is left out in silence."""

    class Losing(InProcess):
        def run(self, tasks, build):
            yield from super().run(list(tasks)[:1], build)

    config, paths = indexed
    with pytest.raises(EngineError, match="2 of 3 tasks"):
        list(EngineClassifier(config, Losing(), task_images=3).classify_paths(paths[:9]))
    with pytest.raises(ConfigError, match="at least 1"):
        EngineClassifier(config, InProcess(), task_images=0)


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
    found = list(EngineClassifier(indexed[0], Processes(2), threads=1, task_images=3).classify_paths(places))
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
