"""An engine one of whose workers is killed when it has done a task, before it can tell."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class EndingBuilder:
    """Makes workers of which the first to have done a task ends; a file tells that one did."""

    builder: Any
    mark: str

    def __call__(self):
        """Return the worker."""
        worker = self.builder()

        def work(task):
            outcome = worker(task)
            if Path(self.mark).exists():
                return outcome
            Path(self.mark).touch()
            return os.kill(os.getpid(), signal.SIGKILL)

        return work


@dataclass(frozen=True)
class EndingEngine:
    """Runs tasks by another engine, and kills one of its workers in each run; `marks` has a file for each."""

    engine: Any
    marks: Path

    def run(self, tasks, build):
        """Run the tasks."""
        self.marks.mkdir(exist_ok=True)
        number = len(list(self.marks.iterdir()))
        return self.engine.run(tasks, EndingBuilder(build, str(self.marks / str(number))))
