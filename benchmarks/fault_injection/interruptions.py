"""Starts `interrupted` with faults loaded before libc; needs a C compiler."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fault_injection.outcome import Outcome

FAULTS = ("kill -9 at a call", "kill -9 at any time", "disk full", "EIO")
_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]


def interruptions(
    kills: int, randomly: int, faults: int, jobs: Sequence[str] = ("build", "sync", "edit")
) -> list[Outcome]:
    """Kill at `kills` chosen and `randomly` random points, and fail the disk at up to `faults` calls of each kind."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        why = "needs Linux and a C compiler"
        return [
            Outcome(fault, skipped=why) for fault in ("kill -9 at a call", "kill -9 at any time", "disk full", "EIO")
        ]
    with tempfile.TemporaryDirectory() as name:
        library = Path(name) / "faults.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _HERE / "faults.c", "-ldl"], check=True)
        env = {**os.environ, "LD_PRELOAD": str(library), "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(_ROOT)}
        wish = json.dumps({"kills": kills, "random": randomly, "faults": faults, "jobs": list(jobs)})
        command = [sys.executable, "-m", "benchmarks.fault_injection.interrupted", wish]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=_ROOT)
    if done.returncode:
        raise RuntimeError(f"the harness itself failed: {done.stderr[-3000:]}")
    return [Outcome(**one) for one in json.loads(done.stdout.splitlines()[-1])]
