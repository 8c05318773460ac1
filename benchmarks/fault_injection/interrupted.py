"""Kill a job, or let its disk fail, at a chosen call; then check whether anything was lost.

This runs with the library made of `faults.c` loaded before libc: `interruptions.py` starts it. One process is forked
per fault, so that a fault costs no more than the job.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.fault_injection import jobs
from benchmarks.fault_injection.interruptions import FAULTS
from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.core.errors import IndexFileError, LmmClassifierError

KILL_BEFORE, KILL_HALFWAY, FULL, EIO_ONCE, EIO = 1, 2, 3, 4, 5
_SURVIVED, _ERROR, _CRASH = 0, 7, 8  # exit codes of the forked process


class Harness:
    """One job, from one state of the index, that is interrupted again and again."""

    def __init__(self, job: str, folder: Path, start: Path) -> None:
        self.job, self.folder, self.start = job, folder, start
        self.interrupted = 0  # jobs that a fault ended
        self._faults = ctypes.CDLL(None)
        self._faults.counted.restype = ctypes.c_long
        self.allowed = jobs.versions_of(job, folder, start)
        started = time.monotonic()
        self.calls = self._count_calls()
        self.seconds = time.monotonic() - started

    def _fresh_index(self) -> Path:
        index = self.folder / "index"
        shutil.rmtree(index, ignore_errors=True)
        if self.start.exists():
            shutil.copytree(self.start, index)
        return index

    def _count_calls(self) -> int:
        index = self._fresh_index()
        self._faults.arm(str(index).encode(), ctypes.c_long(1 << 40), KILL_BEFORE)
        jobs.JOBS[self.job](self.folder, index, jobs.ignore)
        calls = int(self._faults.counted())
        self._faults.arm(b"", ctypes.c_long(0), 0)
        return calls

    def strike(self, call: int, mode: int, after: float | None = None) -> str | None:
        """Run the job with a fault, or kill it `after` some seconds, and return what was lost (None if nothing)."""
        index = self._fresh_index()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            self._run(index, call, mode, writer)
        os.close(writer)
        if after is not None:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        with os.fdopen(reader, "rb") as pipe:
            reported = max([0, *pipe.read()])  # the last number that the job reported
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self.interrupted += code != _SURVIVED
        if code not in (_SURVIVED, _ERROR, -signal.SIGKILL):
            return f"{self.job}, call {call}, mode {mode}: ended with {code}, not with a clear error"
        try:
            problem = self._lost(index, reported)
        except Exception as error:  # noqa: BLE001 - any error is a loss
            problem = f"{type(error).__name__}: {error}"
        return problem and f"{self.job}, call {call}, mode {mode}: {problem}"

    def _run(self, index: Path, call: int, mode: int, pipe: int) -> None:
        """Do the job with the fault in the forked process, and exit without cleaning up."""
        code = _CRASH
        try:
            self._faults.arm(str(index).encode(), ctypes.c_long(call), mode)
            jobs.JOBS[self.job](self.folder, index, jobs.report_to_pipe(pipe))
            code = _SURVIVED
        except (LmmClassifierError, OSError) as error:
            code = _ERROR if str(error) else _CRASH
        except BaseException as error:  # noqa: BLE001 - the parent reads the exit code
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)

    def _lost(self, index: Path, reported: int) -> str | None:
        if self.job == "repair":
            return self._lost_by_repair(index)
        before = jobs.encoded_contents(index)
        if self.job not in jobs.STEPWISE and len(before) < reported:
            return f"{reported} images were reported as committed, {len(before)} are stored"
        if self.start.exists():
            state = jobs.state_of(index)
            if state not in self.allowed:
                return "the index is in a state that it must never be in"
            if self.job == "edit" and reported >= 2 and self.allowed.index(state) < reported - 1:
                return "an edit that was reported is missing"
            if self.job in ("undo", "purge") and (problem := jobs.half_done(index, reported)):
                return problem
        encoded = jobs.JOBS[self.job](self.folder, index, jobs.ignore)
        new = len(jobs.encoded_contents(index) - before)
        if encoded > new:
            return f"{encoded} images were encoded, but only {new} are new"
        if jobs.state_of(index) != self.allowed[-1]:
            return "resuming the job led to another index"
        return jobs.damage(index)

    def _lost_by_repair(self, index: Path) -> str | None:
        """Open the index, which may be refused as damaged, and repair it again; then everything must be there."""
        with suppress(IndexFileError):
            if jobs.state_of(index) != self.allowed[-1]:
                return "an index that is half repaired was opened"
        jobs.repair(self.folder, index)
        if jobs.state_of(index) != self.allowed[-1]:
            return "repairing again led to another index"
        return jobs.damage(index)


def strike_at_calls(harnesses: list[Harness], kills: int, faults: int) -> list[Outcome]:
    """Kill each job at chosen calls, then let its disk fail at chosen calls."""
    kill, full, failing = Outcome(FAULTS[0]), Outcome(FAULTS[2]), Outcome(FAULTS[3])
    notes = []
    for harness in harnesses:
        most = max(kills // len(harnesses) // 2, 1)
        for mode in (KILL_BEFORE, KILL_HALFWAY):
            for call in spread(harness.calls, most):
                kill.add(harness.strike(call, mode))
        killed = f"{harness.interrupted} of {2 * min(most, harness.calls)} killed"
        notes.append(f"{harness.job} {harness.calls} ({killed})")
        for mode, outcome in ((FULL, full), (EIO_ONCE, failing), (EIO, failing)):
            for call in spread(harness.calls, faults // len(harnesses)):
                outcome.add(harness.strike(call, mode))
    kill.notes.append(f"calls that change a file: {', '.join(notes)}")
    return [kill, full, failing]


def strike_at_random(harnesses: list[Harness], kills: int) -> Outcome:
    """Kill the jobs at random times."""
    outcome = Outcome(FAULTS[1])
    interrupted_before = sum(harness.interrupted for harness in harnesses)
    rng = random.Random(0)
    for number in range(kills):
        harness = harnesses[number % len(harnesses)]
        outcome.add(harness.strike(0, 0, rng.uniform(0, 1.2 * harness.seconds)))
    interrupted = sum(harness.interrupted for harness in harnesses) - interrupted_before
    outcome.notes.append(f"{interrupted} killed before they finished")
    return outcome


def main() -> None:
    """Read the request from the command line, and print the outcomes as JSON."""
    request: dict[str, Any] = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        jobs.draw_datasets(folder)
        start, missing = folder / "start", folder / "missing"
        jobs.build(folder, start)
        jobs.damage_database(start, folder / "damaged")
        shutil.copytree(start, folder / "edited")
        jobs.edit_and_undo(folder, folder / "edited")
        starts = {"sync": start, "edit": start, "undo": start, "purge": folder / "edited", "repair": folder / "damaged"}
        harnesses = [Harness(job, folder, starts.get(job, missing)) for job in request["jobs"]]
        kill, full, failing = strike_at_calls(harnesses, request["kills"], request["faults"])
        random_kills = strike_at_random(harnesses, request["random"])
    print(json.dumps([vars(outcome) for outcome in (kill, random_kills, full, failing)]))


def spread(calls: int, most: int) -> list[int]:
    """Return every call, or `most` of them evenly spaced."""
    if calls <= most:
        return list(range(1, calls + 1))
    return sorted({1 + round(place * (calls - 1) / max(most - 1, 1)) for place in range(most)})


if __name__ == "__main__":
    main()
