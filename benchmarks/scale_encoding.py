"""Processor time to encode images by an engine, relative to a local build, and what Ray itself takes.

Each run is a process of its own. Processor time is compared, because other programs may run. The time of encoding is
that of the processes which decode and encode, from when the encoder is opened. Ray's own is that of all other processes
of the job.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, where
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.concurrency import cpu_count
from lmm_classifier.core.protocols import Outcome, Task
from lmm_classifier.distributed.build import build_table
from lmm_classifier.distributed.engines.ray_engine import RayEngine
from lmm_classifier.index.build.builder import build_index_from_directory

COMMAND = "python -m benchmarks.scale --only encoding"
_DATA = Path(os.environ.get("SHARED", Path(__file__).parents[2] / "shared")) / "data"  # photographs by label
_CHUNK = 64
_KINDS = ("local", "ray 1", "ray 2")
_AGAINST = "lite0, photographs of clothes and waste as JPEG, chunks of 64"


@dataclass(frozen=True)
class TimedBuilder:
    """Makes workers that note the processor time of their process since they were made."""

    builder: Callable[[], Callable[[Any], Any]]
    notes: str

    def __call__(self) -> Callable[[Any], Any]:
        """Return the worker."""
        started = time.process_time()
        worker = self.builder()

        def work(task: Any) -> Any:
            outcome = worker(task)
            with Path(self.notes).open("a", encoding="ascii") as file:
                file.write(f"{os.getpid()} {time.process_time() - started}\n")
            return outcome

        return work


@dataclass(frozen=True)
class TimedEngine:
    """An engine whose workers note their processor time."""

    engine: RayEngine
    notes: str

    def run(self, tasks: Iterable[Task], build: Callable[[], Callable[[Task], Outcome]]) -> Iterator[Outcome]:
        """Run the tasks."""
        return self.engine.run(tasks, TimedBuilder(build, self.notes))


def rows(quick: bool) -> list[Row]:
    """Measure and return the rows; the best of two runs of each kind counts."""
    if not _DATA.is_dir():
        sys.stderr.write(f"{_DATA} is missing, so nothing is measured\n")
        return []
    count, rounds = (300, 1) if quick else (4000, 2)
    with tempfile.TemporaryDirectory() as folder:
        images = _images(Path(folder) / "images", count)
        found = {kind: [_measured(kind, images, Path(folder)) for _ in range(rounds)] for kind in _KINDS}
    least = {kind: min(run["encoding"] for run in runs) for kind, runs in found.items()}
    own = [run["own"] for kind in _KINDS[1:] for run in found[kind]]
    machine, against = where("ray", "onnxruntime"), f"{count:,} {_AGAINST}"
    result = [
        Row(
            f"encoding by Ray, {actors} actors: processor time of a local build relative to it",
            round(least["local"] / least[f"ray {actors}"], 3),
            "x",
            goal,
            "higher",
            against,
            machine,
            COMMAND,
        )
        for actors, goal in ((1, 0.97), (2, 0.9))
    ]
    result.append(
        Row(
            "a job of Ray: processor time of its own processes",
            round(min(own), 1),
            "s",
            15.0,
            "lower",
            against,
            machine,
            COMMAND,
            f"{min(own):.1f} to {max(own):.1f}",
        )
    )
    result.append(
        Row("local build: processor time", round(least["local"], 1), "s", None, "lower", against, machine, COMMAND)
    )
    return result


def _images(folder: Path, count: int) -> Path:
    """Copy photographs, again with a number behind their end where there are too few."""
    sources = sorted(_DATA.rglob("*.jpg"))
    for number in range(count):
        source = sources[number % len(sources)]
        target = folder / source.parent.name / f"{number:06}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        extra = b"" if number < len(sources) else str(number).encode()
        target.write_bytes(source.read_bytes() + extra)
    return folder


def _measured(kind: str, images: Path, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scale_encoding", kind, str(images), str(folder)]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    except subprocess.CalledProcessError as error:
        sys.stderr.write(error.stderr)
        raise
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _run(kind: str, images: str, folder: str) -> dict[str, float]:
    """Build once in this process; return seconds of processor time."""
    config = PipelineConfig.preset("lite")
    output = Path(folder) / "output"
    shutil.rmtree(output, ignore_errors=True)
    if kind == "local":
        started = time.process_time()
        build_index_from_directory(images, output, config=config)
        return {"encoding": time.process_time() - started, "own": 0.0}
    import psutil

    actors, notes = int(kind.split()[1]), Path(folder) / "notes"
    notes.unlink(missing_ok=True)
    own = list[float]()

    class Watched(RayEngine):
        def run(self, tasks: Iterable[Any], build: Callable[[], Callable[[Any], Any]]) -> Iterator[Any]:
            for outcome in super().run(tasks, build):
                yield outcome
                with contextlib.suppress(psutil.Error):
                    own.append(_of_tree(psutil))

    engine = TimedEngine(Watched(actors=actors), str(notes))
    started = time.process_time()
    build_table(images, str(output), config, engine, _CHUNK, threads=max(cpu_count() // actors, 1))
    driver = time.process_time() - started
    last = dict(line.split() for line in notes.read_text(encoding="ascii").splitlines())
    encoding = sum(map(float, last.values()))
    return {"encoding": encoding, "own": driver + max(own, default=0.0) - encoding}


def _of_tree(psutil: Any) -> float:
    """Return the processor time of the processes that this one started, and those started."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_run(*sys.argv[1:4])) + "\n")
