"""Kills a job, or lets its disk fail, at a chosen call; then looks whether anything was lost.

Runs with the library made of `faults.c` loaded before libc: `interruptions.py` starts it. A process is forked for each
point, so that a point costs what the job costs.
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
from pathlib import Path

from benchmarks.fault_injection import jobs
from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.core.errors import LmmClassifierError

KILL_BEFORE, KILL_HALFWAY, FULL, EIO_ONCE, EIO = 1, 2, 3, 4, 5
_SURVIVED, _ERROR, _CRASH = 0, 7, 8  # exit codes of the forked process


class Harness:
    """One job, from one state of the index, to be interrupted again and again."""

    def __init__(self, job: str, place: Path, start: Path, folder: Path) -> None:
        self.job, self.place, self.start, self.folder = job, place, start, folder
        self.struck = 0  # jobs that a fault ended
        self._faults = ctypes.CDLL(None)
        self._faults.counted.restype = ctypes.c_long
        self.allowed = jobs.versions_of(job, place, start, folder)
        started = time.monotonic()
        self.calls = self._count()
        self.seconds = time.monotonic() - started

    def _fresh(self) -> Path:
        index = self.folder / "index"
        shutil.rmtree(index, ignore_errors=True)
        if self.start.exists():
            shutil.copytree(self.start, index)
        return index

    def _count(self) -> int:
        index = self._fresh()
        self._faults.arm(str(index).encode(), ctypes.c_long(1 << 40), KILL_BEFORE)
        jobs.JOBS[self.job](self.place, index, lambda _: None)
        calls = int(self._faults.counted())
        self._faults.arm(b"", ctypes.c_long(0), 0)
        return calls

    def strike(self, call: int, mode: int, after: float | None = None) -> str | None:
        """Run the job with a fault, or kill it `after` some seconds; then tell what was lost, None if nothing."""
        index = self._fresh()
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
            told = max([0, *pipe.read()])  # all that it told, up to its end
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        self.struck += code != _SURVIVED
        if code not in (_SURVIVED, _ERROR, -signal.SIGKILL):
            return f"{self.job}, call {call}, mode {mode}: ended with {code}, not with a clear error"
        try:
            problem = self._lost(index, told)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what this looks for
            problem = f"{type(error).__name__}: {error}"
        return problem and f"{self.job}, call {call}, mode {mode}: {problem}"

    def _run(self, index: Path, call: int, mode: int, pipe: int) -> None:
        """In the forked process: do the job under fire, and leave by the back door."""
        code = _CRASH
        try:
            self._faults.arm(str(index).encode(), ctypes.c_long(call), mode)
            jobs.JOBS[self.job](self.place, index, jobs.tell(pipe))
            code = _SURVIVED
        except (LmmClassifierError, OSError) as error:
            code = _ERROR if str(error) else _CRASH
        except BaseException as error:  # noqa: BLE001
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)

    def _lost(self, index: Path, told: int) -> str | None:
        before = jobs.contents_encoded(index)
        if self.job != "edit" and len(before) < told:
            return f"{told} pictures were said to be committed, {len(before)} are there"
        if self.start.exists():
            seen = jobs.state(index)
            if seen not in self.allowed:
                return "the index is in a state that it never should be in"
            if self.job == "edit" and told >= 2 and self.allowed.index(seen) < told - 1:
                return "an edit that was reported is not there"
        given = jobs.JOBS[self.job](self.place, index, lambda _: None)
        after = jobs.contents_encoded(index)
        if given > len(after - before):
            return f"{given} pictures encoded again, {len(after - before)} were new"
        if jobs.state(index) != self.allowed[-1]:
            return "going on led to another index"
        return jobs.damage(index)


def main() -> None:
    """Read the wishes from the command line, write outcomes as JSON."""
    wish = json.loads(sys.argv[1])
    kills, randomly = Outcome("kill -9 at a call"), Outcome("kill -9 at any time")
    full, failing = Outcome("disk full"), Outcome("EIO")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        jobs.draw_corpora(folder)
        start = folder / "start"
        jobs.build(folder, start, lambda _: None)
        none = folder / "none"
        names = wish["jobs"]
        harnesses = [Harness(job, folder, start if job in ("sync", "edit") else none, folder) for job in names]
        said: list[str] = []
        for harness in harnesses:
            share = max(wish["kills"] // len(harnesses) // 2, 1)
            for mode in (KILL_BEFORE, KILL_HALFWAY):
                for call in spread(harness.calls, share):
                    kills.add(harness.strike(call, mode))
            said.append(f"{harness.job} {harness.calls} ({harness.struck} of {2 * min(share, harness.calls)} killed)")
            for mode, outcome in ((FULL, full), (EIO_ONCE, failing), (EIO, failing)):
                for call in spread(harness.calls, wish["faults"] // len(harnesses)):
                    outcome.add(harness.strike(call, mode))
        said_later = sum(harness.struck for harness in harnesses)
        dice = random.Random(0)
        for number in range(wish["random"]):
            harness = harnesses[number % len(harnesses)]
            randomly.add(harness.strike(0, 0, dice.uniform(0, 1.2 * harness.seconds)))
        kills.notes.append(f"calls that change a file: {', '.join(said)}")
        randomly.notes.append(f"{sum(h.struck for h in harnesses) - said_later} killed before they were done")
    print(json.dumps([vars(one) for one in (kills, randomly, full, failing)]))


def spread(calls: int, most: int) -> list[int]:
    """Every call, or `most` of them evenly."""
    if calls <= most:
        return list(range(1, calls + 1))
    return sorted({1 + round(place * (calls - 1) / max(most - 1, 1)) for place in range(most)})


if __name__ == "__main__":
    main()
