"""Start `interrupted` with the faults loaded before libc. This needs Linux and a C compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.fault_injection.outcome import Outcome

FAULTS = ("kill -9 at a file system call", "kill -9 at any time", "disk full", "EIO")
_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]


def interruptions(
    kills: int,
    random_kills: int,
    faults: int,
    jobs: Sequence[str] = ("build", "sync", "edit", "undo", "purge", "repair"),
) -> list[Outcome]:
    """Interrupt jobs by kills and by a failing disk.

    Args:
        kills: kills at chosen calls.
        random_kills: kills at random times.
        faults: calls of each kind, at most, at which the disk fails.
        jobs: names of the jobs.
    """
    request = {"kills": kills, "random": random_kills, "faults": faults, "jobs": list(jobs)}
    return run_with_faults("benchmarks.fault_injection.interrupted", request, FAULTS)


def run_with_faults(module: str, request: dict[str, Any], faults: Sequence[str]) -> list[Outcome]:
    """Run a module with the library made of `faults.c`, and return the outcomes of `faults` that it prints."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        return [Outcome(fault, skipped="needs Linux and a C compiler") for fault in faults]
    with tempfile.TemporaryDirectory() as name:
        library = Path(name) / "faults.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _HERE / "faults.c", "-ldl"], check=True)
        env = {**os.environ, "LD_PRELOAD": str(library), "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
        command = [sys.executable, "-m", module, json.dumps(request)]
        process = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=_ROOT)
    if process.returncode:
        raise RuntimeError(f"The fault injection itself failed: {process.stderr[-3000:]}")
    return [Outcome(**outcome) for outcome in json.loads(process.stdout.splitlines()[-1])]
