"""A build by Ray in a process of its own, which a test may kill: `python -m tests.helpers.ray_driver OPTIONS`.

Its encoder waits before each image, so that a build can be interrupted; and each chunk that was encoded is noted.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmm_classifier.config import PipelineConfig
from lmm_classifier.distributed.build import build_table
from lmm_classifier.distributed.chunk_worker import ChunkWorkerBuilder
from lmm_classifier.distributed.engines.ray_engine import RayEngine


class Waiting:
    """An encoder that takes a while for each image, and ends its process at images of one size."""

    def __init__(self, encoder, seconds, ends_at=None):
        self._encoder, self._seconds, self._ends_at = encoder, seconds, ends_at

    def __getattr__(self, name):
        return getattr(self._encoder, name)

    def preprocess(self, image):
        """Wait, then preprocess."""
        if self._ends_at is not None and image.size == tuple(self._ends_at):
            os._exit(1)
        time.sleep(self._seconds)
        return self._encoder.preprocess(image)


@dataclass(frozen=True)
class NotingBuilder:
    """Makes workers that append a line to a file for each chunk for which they encoded images."""

    builder: Any
    notes: str
    seconds: float
    ends_at: tuple[int, int] | None = None

    def __call__(self):
        """Return the worker."""
        worker = self.builder()
        worker.encoders = [Waiting(encoder, self.seconds, self.ends_at) for encoder in worker.encoders]

        def work(task):
            outcome = worker(task)
            if outcome.encoded:
                with Path(self.notes).open("a") as file:
                    file.write(f"{outcome.chunk.name} {os.getpid()}\n")
            return outcome

        return work


@dataclass(frozen=True)
class NotingEngine:
    """An engine whose workers note what they encode."""

    engine: Any
    notes: str
    seconds: float = 0.0
    ends_at: tuple[int, int] | None = None

    def run(self, tasks, build):
        """Run the tasks."""
        if not isinstance(build, ChunkWorkerBuilder):
            return self.engine.run(tasks, build)  # they write and sort rows that are encoded
        return self.engine.run(tasks, NotingBuilder(build, self.notes, self.seconds, self.ends_at))


def main(given: str) -> None:
    """Build as the JSON object says, and write the report to standard output."""
    values = json.loads(given)
    config = PipelineConfig()
    for setting in values["settings"]:
        config.set(setting)
    engine = RayEngine(values.get("address"), values.get("actors", 2))
    noting = NotingEngine(engine, values["notes"], values["seconds"], values.get("ends_at"))
    report = build_table(values["root"], values["output"], config, noting, values["chunk_files"], threads=1)
    sys.stdout.write(json.dumps(report.to_dict()) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
