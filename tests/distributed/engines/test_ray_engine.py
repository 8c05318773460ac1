"""Ray runs the same workers, and a kill of any part of it costs nothing that was finished."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid

import pytest

from lmm_classifier.core.errors import ConfigError, EngineError
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.engines.ray_engine import RayEngine
from lmm_classifier.distributed.maintenance import ChunkProblem, verify_chunks
from lmm_classifier.index.build.builder import build_index_from_directory
from tests.helpers.chunked_builds import make_labeled, rows_of_index, rows_of_table
from tests.helpers.paths import ROOT

pytest.importorskip("ray", reason="ray is not installed")
pytest.importorskip("lance", reason="lance is not installed")
psutil = pytest.importorskip("psutil", reason="psutil is not installed")

# Ray starts programs from this process, which may have imported lance; none of them is a fork of it that continues
pytestmark = [
    pytest.mark.filterwarnings("ignore:lance is not fork-safe"),
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),  # of its own daemons
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
_LONG = 300  # seconds after which a test gives up


def test_numbers_below_zero_are_refused():
    """Before Ray is started."""
    with pytest.raises(ConfigError, match="expected 0 or more"):
        RayEngine(actors=-1)
    assert list(RayEngine().run([], lambda: None)) == []


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """280 files, and the rows of a local index of them."""
    folder = tmp_path_factory.mktemp("large")
    labeled = make_labeled(folder, count=68, size=32)
    report = build_index_from_directory(labeled.root, folder / "local", config=labeled.config)
    return labeled, rows_of_index(folder / "local"), report


@pytest.fixture
def driver(large, tmp_path):
    """Starts builds whose processes are all ended with the test."""
    labeled = large[0]
    mark = uuid.uuid4().hex
    started = []

    def start(**values):
        settings = ["encoder.backend=onnx", f"encoder.model={labeled.config.encoders[0].model}", "rerank.enabled=false"]
        given = {
            "settings": settings,
            "root": str(labeled.root),
            "output": str(tmp_path / "table"),
            "notes": str(tmp_path / "notes"),
            "seconds": 0.02,
            "chunk_files": 16,
            **values,
        }
        environment = {**os.environ, "LMM_TEST_MARK": mark, "PYTHONPATH": str(ROOT), "RAY_enable_open_telemetry": "0"}
        command = [sys.executable, "-m", "tests.helpers.ray_driver", json.dumps(given)]
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in [*started, *marked(mark)]:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process.kill()
    for process in started:
        process.communicate()


def marked(mark):
    """Return the processes that a driver of a test started, whoever their parent is now."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("LMM_TEST_MARK") == mark:
                found.append(process)
    return found


def chunks_at(folder):
    return set(ChunkFolder(str(folder)).stored())


def wait_for(condition, process):
    """Wait until a build has come so far; fail where it ends before."""
    end = time.monotonic() + _LONG
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def finish(process):
    """Return the report of a build that ends well."""
    out, error = process.communicate(timeout=_LONG)
    assert process.returncode == 0, error[-4000:]
    return json.loads(out.splitlines()[-1])


def noted(path):
    """Return the chunks that were encoded, in order, and the processes that did."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [name for name, _ in lines], [int(pid) for _, pid in lines]


def check(large, table, report):
    """Nothing is lost or there twice, and each chunk is good."""
    _, rows, expected = large
    assert rows_of_table(table) == rows
    assert report["indexed"] == expected.indexed
    assert sorted(map(str, report["skipped"])) == sorted(map(str, expected.to_dict()["skipped"]))
    assert sorted(report["warnings"]) == sorted(expected.warnings)
    assert not [found for found in verify_chunks(str(table)) if isinstance(found, ChunkProblem)]


@pytest.mark.long
def test_ray_makes_the_table_of_a_local_build(large, driver, tmp_path):
    """With two actors; each chunk is encoded once."""
    report = finish(driver(seconds=0))
    check(large, tmp_path / "table", report)
    names, pids = noted(tmp_path / "notes")
    assert sorted(names) == sorted(chunks_at(tmp_path / "table"))
    assert len(set(pids)) == 2


@pytest.mark.long
def test_a_killed_worker_costs_its_open_chunk(large, driver, tmp_path):
    """SIGKILL when a third is there: nothing is lost, and what is finished is not encoded again."""
    process = driver()
    wait_for(lambda: len(chunks_at(tmp_path / "table")) >= 6, process)
    _, pids = noted(tmp_path / "notes")
    done = chunks_at(tmp_path / "table")
    os.kill(pids[-1], signal.SIGKILL)
    check(large, tmp_path / "table", finish(process))
    names, after = noted(tmp_path / "notes")
    assert len(set(after)) >= 2
    assert {name for name in names if names.count(name) > 1} == set()
    assert done < chunks_at(tmp_path / "table")


@pytest.mark.long
def test_a_killed_driver_resumes_with_the_same_command(large, driver, tmp_path):
    """While its orphans may still write: nothing is lost or double, and what is finished is not encoded again."""
    first = driver()
    wait_for(lambda: len(chunks_at(tmp_path / "table")) >= 6, first)
    first.kill()
    first.wait()
    done = chunks_at(tmp_path / "table")
    second = driver(notes=str(tmp_path / "second"))
    check(large, tmp_path / "table", finish(second))
    again, _ = noted(tmp_path / "second")
    assert not done & set(again)
    assert len(again) == len(set(again))


@pytest.mark.long
def test_a_lost_node_costs_its_open_chunk(large, driver, tmp_path):
    """A cluster of two nodes, one of which is gone when a third is there."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    arguments = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=arguments)
    try:
        node = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        process = driver(address=cluster.address)
        wait_for(lambda: len(chunks_at(tmp_path / "table")) >= 6, process)
        done = chunks_at(tmp_path / "table")
        cluster.remove_node(node, allow_graceful=False)
        check(large, tmp_path / "table", finish(process))
        names, _ = noted(tmp_path / "notes")
        assert not done & {name for name in names if names.count(name) > 1}
        assert len(done) < len(chunks_at(tmp_path / "table"))
    finally:
        cluster.shutdown()


@pytest.mark.long
def test_an_image_that_ends_its_worker_is_refused(driver, tmp_path):
    """By Ray too: it alone, with the reason."""
    from PIL import Image

    labeled = make_labeled(tmp_path / "poisoned", count=6, size=32)
    Image.new("RGB", (33, 17)).save(labeled.root / "stripes/ends.png")
    report = finish(driver(root=str(labeled.root), seconds=0, ends_at=[33, 17]))
    refused = [file for file in report["skipped"] if file["kind"] == "ended_worker"]
    assert [file["path"] for file in refused] == ["stripes/ends.png"]
    assert "ended 3 times" in refused[0]["reason"]
    assert report["total"] == 26


def test_a_cluster_that_cannot_be_reached_is_told():
    """At once, and what is no address too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # nothing listens there
        address = f"127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(EngineError, match=f"No cluster answers at {address}"):
            list(RayEngine(address).run([1], lambda: None))
    with pytest.raises(ConfigError, match="no address of a cluster"):
        list(RayEngine("localhost:port").run([1], lambda: None))


@pytest.mark.long
def test_gpus_that_are_not_there_are_told():
    """Ray itself would wait for ever."""
    with pytest.raises(EngineError, match="the cluster has 0"):
        list(RayEngine(actors=2, actor_gpus=0.5).run([1], lambda: None))


def raise_error():
    """Return what raises an error: one of the package, and one that it does not know."""

    def work(task):
        raise KeyError("a column") if task else ConfigError("this is wrong")

    return work


@pytest.mark.long
def test_an_error_of_a_worker_is_told_in_one_line():
    """What began it, without the colors and the frames of Ray."""
    with pytest.raises(EngineError, match="A worker failed with KeyError: 'a column'. What is finished") as found:
        list(RayEngine(actors=1).run([1, 2], raise_error))
    assert "\x1b" not in str(found.value)
    with pytest.raises(ConfigError, match="this is wrong"):
        list(RayEngine(actors=1).run([0], raise_error))
