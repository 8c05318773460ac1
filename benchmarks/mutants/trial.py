"""Tries a mutant: a forked process imports the changed module and runs the tests that are about it.

No file is written. The process that forks has loaded the heavy libraries, and never the package itself.
"""

from __future__ import annotations

import gc
import importlib.machinery
import importlib.util
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Literal

from benchmarks.mutants.mutations import Mutant

Outcome = Literal["killed", "survived"]

_HEAVY = (
    "numpy", "scipy.stats", "scipy.optimize", "scipy.cluster.hierarchy", "scipy.spatial", "sklearn.neighbors",
    "sklearn.discriminant_analysis", "sklearn.metrics", "mapie.classification", "hypothesis", "pytest", "PIL.Image",
    "pydantic", "yaml", "jinja2", "typer", "filelock", "threadpoolctl", "rich.console", "anyio._backends._asyncio",
    "hypothesis.strategies", "hypothesis.internal.conjecture.engine", "_pytest.python", "_pytest.pytester", "sqlite3",
)  # fmt: skip
CACHE = Path(".pytest_cache") / "mutants"  # the failures of mutants are not those of `pytest --last-failed`
_PATIENCE = 20  # seconds of wall-clock per second of processor time, for a machine that others use as well


@dataclass
class Trial:
    """A run of the tests of one module, with or without a mutant."""

    mutant: Mutant | None
    tests: Sequence[str]
    limit: float  # seconds of processor time, after which an endless loop is taken for noticed
    started: float = 0.0
    code: int = 0  # exit code of pytest; negative: the signal that ended it
    seconds: float = 0.0  # of processor time

    @property
    def outcome(self) -> Outcome:
        """Return whether a test noticed the mutant."""
        return "killed" if self.code else "survived"


def load_libraries(root: Path) -> None:
    """Load what every trial needs, once."""
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(root / CACHE / "bytecode")
    os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    for name in _HEAVY:
        importlib.import_module(name)
    from hypothesis import Phase, settings

    # no search for a simpler failure, and none is remembered
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", database=None, derandomize=True, deadline=None, phases=phases)
    settings.load_profile("mutants")
    gc.freeze()  # the trials do not search these objects for cycles
    assert not any(name.split(".")[0] == "lmm_classifier" for name in sys.modules)


def run(trials: Sequence[Trial], root: Path, jobs: int) -> Iterator[Trial]:
    """Run the trials, `jobs` at a time, and yield each when it has ended."""
    waiting, running = list(reversed(trials)), dict[int, Trial]()
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        while waiting or running:
            while waiting and len(running) < jobs:
                trial = waiting.pop()
                running[_fork(trial, root, Path(scratch))] = trial
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if not pid:
                _end_the_slow(running)
                time.sleep(0.01)
                continue
            shutil.rmtree(Path(scratch) / str(pid), ignore_errors=True)
            seconds = usage.ru_utime + usage.ru_stime
            yield replace(running.pop(pid), code=os.waitstatus_to_exitcode(status), seconds=seconds)


def _end_the_slow(running: dict[int, Trial]) -> None:
    for pid, trial in running.items():
        if time.monotonic() - trial.started > trial.limit * _PATIENCE:
            os.killpg(pid, signal.SIGKILL)


def _fork(trial: Trial, root: Path, scratch: Path) -> int:
    trial.started = time.monotonic()
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (int(trial.limit) + 1, int(trial.limit) + 1))
        os.chdir(root)
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(silent, stream)
        if trial.mutant is not None:
            sys.meta_path.insert(0, _Changed(root, trial.mutant))
        code = _pytest(trial.tests, root, scratch / str(os.getpid()))
    finally:
        os._exit(code)


def _pytest(tests: Sequence[str], root: Path, scratch: Path) -> int:
    import pytest

    options = [
        "-x",
        "-q",
        "-p",
        "no:xdist",
        "-p",
        "no:anyio",
        f"--basetemp={scratch}",
        "-o",
        f"cache_dir={root / CACHE}",
    ]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is loaded already, on purpose
    return int(pytest.main([*options, *tests]))


class _Changed(importlib.machinery.SourceFileLoader):
    """Finds and loads the changed module in place of its file."""

    def __init__(self, root: Path, mutant: Mutant) -> None:
        name = mutant.path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        super().__init__(name, str(root / mutant.path))
        self._source = mutant.source

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        """Return the module's place if it is the changed one."""
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.path, loader=self)

    def get_code(self, _: str) -> CodeType:
        """Return the code of the changed source."""
        return compile(self._source, self.path, "exec", dont_inherit=True)
