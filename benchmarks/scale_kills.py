"""Kill a worker, the program or a machine while a third of a build by Ray is there, and count what that costs.

A build of one machine tells what must be in the table. Where the program was killed, the same command runs again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Row, where
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.index.build.builder import build_index_from_directory
from tests.helpers.chunked_builds import LabeledImages, make_labeled, rows_of_index, rows_of_table

COMMAND = "python -m benchmarks.scale --only kills"
_ROOT = Path(__file__).parents[1]
_CHUNK, _SECONDS = 16, 0.01  # files of a chunk; that an image takes at least
_ENOUGH = 600.0  # seconds for a build


@dataclass
class _Counts:
    """Images of all runs of one kind."""

    files: int = 0
    lost: int = 0
    double: int = 0
    again: int = 0


def rows(quick: bool) -> list[Row]:
    """Kill each part several times, and yield what was lost, double, or encoded again."""
    each, runs = (68, 1) if quick else (375, 3)
    found = list[Row]()
    with tempfile.TemporaryDirectory() as folder:
        labeled = make_labeled(Path(folder), count=each, size=32)
        build_index_from_directory(labeled.root, Path(folder) / "local", config=labeled.config)
        expected = rows_of_index(Path(folder) / "local")
        for name, kill in (("worker", _worker), ("program", _program), ("machine", _machine)):
            counts = _Counts()
            for run in range(runs):
                build = _Build(labeled, Path(folder) / f"{name}-{run}")
                build.folder.mkdir()
                kill(build)
                _count(build, expected, counts)
            found += _rows_of(name, counts, runs)
    return found


def _rows_of(name: str, counts: _Counts, runs: int) -> Iterator[Row]:
    against = f"{runs} builds of {counts.files // runs:,} files in chunks of {_CHUNK}, two actors, SIGKILL at a third"
    for figure, value in (
        ("lost", counts.lost),
        ("double", counts.double),
        ("finished and encoded again", counts.again),
    ):
        yield Row(f"killed {name}: images {figure}", value, "", 0, "lower", against, where("ray", "pylance"), COMMAND)


@dataclass
class _Build:
    """A build in a process of its own, whose workers note each chunk that they encoded."""

    labeled: LabeledImages
    folder: Path
    finished: Set[str] = frozenset()  # chunks that were there when something was killed
    before: int = 0  # lines of the notes then

    @property
    def table(self) -> Path:
        return self.folder / "table.lance"

    @property
    def notes(self) -> Path:
        return self.folder / "notes"

    def start(self, address: str | None = None) -> subprocess.Popen[str]:
        """Start it, or resume it."""
        model = self.labeled.config.encoders[0].model
        given = {
            "settings": ["encoder.backend=onnx", f"encoder.model={model}", "rerank.enabled=false"],
            "root": str(self.labeled.root),
            "output": str(self.table),
            "notes": str(self.notes),
            "seconds": _SECONDS,
            "chunk_files": _CHUNK,
            "address": address,
        }
        command = [sys.executable, "-m", "tests.helpers.ray_driver", json.dumps(given)]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        output = (self.folder / "errors").open("a")
        return subprocess.Popen(command, env=environment, cwd=_ROOT, stdout=output, stderr=output, text=True)

    def wait_for_a_third(self, process: subprocess.Popen[str]) -> None:
        """Return when a third of the chunks is there, and keep which."""
        third, end = self.labeled.images // _CHUNK // 3, time.monotonic() + _ENOUGH
        while len(self._stored()) < third:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the build ended or hung: {(self.folder / 'errors').read_text()[-2000:]}")
            time.sleep(0.02)
        self.finished, self.before = self._stored(), len(self.noted())

    def end(self, process: subprocess.Popen[str]) -> None:
        """Wait for a good end."""
        if process.wait(_ENOUGH):
            raise RuntimeError((self.folder / "errors").read_text()[-2000:])

    def noted(self) -> list[tuple[str, int]]:
        """Return the chunks that were encoded, and the process that did."""
        lines = self.notes.read_text().splitlines() if self.notes.exists() else []
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    def _stored(self) -> set[str]:
        return set(ChunkFolder(str(self.table)).stored()) if self.table.exists() else set()


def _worker(build: _Build) -> None:
    process = build.start()
    build.wait_for_a_third(process)
    os.kill(build.noted()[-1][1], signal.SIGKILL)
    build.end(process)


def _program(build: _Build) -> None:
    process = build.start()
    build.wait_for_a_third(process)
    process.kill()
    process.wait()
    build.end(build.start())


def _machine(build: _Build) -> None:
    with _cluster() as (address, lose):
        process = build.start(address)
        build.wait_for_a_third(process)
        lose()
        build.end(process)


@contextmanager
def _cluster() -> Iterator[tuple[str, Callable[[], None]]]:
    """Two machines of one core, one of which can be lost: processes of this machine, as Ray tests itself."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    from ray.cluster_utils import Cluster

    arguments = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=arguments)
    try:
        node = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        yield cluster.address, lambda: cluster.remove_node(node, allow_graceful=False)
    finally:
        cluster.shutdown()


def _count(build: _Build, expected: dict[str, object], counts: _Counts) -> None:
    """Add what a killed build cost."""
    from lmm_classifier.index.backends.lance_table.finishing import finished

    rows = rows_of_table(build.table)
    counts.files += build.labeled.images
    counts.lost += sum(rows.get(path) != row for path, row in expected.items())
    dataset = finished(str(build.table))[0]  # type: ignore[index]
    paths = Counter(path for row in dataset.to_table(columns=["paths"]).to_pylist() for path in row["paths"])
    counts.double += sum(number - 1 for number in paths.values())
    noted = [name for name, _ in build.noted()]
    after = noted[build.before :]
    counts.again += _CHUNK * sum(name in build.finished for name in after)
