"""Interrupt `classify --output --copy-to`: after `--resume` nothing is missing, torn or there twice.

`appended_results` starts this module in a process with the library made of `faults.c`. There, one process is forked per
fault and runs the command as a user does.
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
from hashlib import sha256
from pathlib import Path

import numpy as np

from benchmarks.fault_injection import jobs
from benchmarks.fault_injection.interrupted import EIO, EIO_ONCE, FULL, KILL_BEFORE, KILL_HALFWAY, spread
from benchmarks.fault_injection.interruptions import run_with_faults
from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.cli.app import app
from lmm_classifier.cli.stored_results import StoredResults
from lmm_classifier.core.appended_file import whole_records
from lmm_classifier.core.labels import normal_label
from lmm_classifier.data.synthetic.catalog import KNOWN, draw

FAULTS = ("kill during classify --output", "disk full during classify --output")
_IMAGES = 12
_FORMATS = ("jsonl", "csv")


def appended_results(kills: int, random_kills: int, faults: int) -> list[Outcome]:
    """Kill the command at chosen calls and at random times, and let its disk fail at chosen calls."""
    request = {"kills": kills, "random": random_kills, "faults": faults}
    return run_with_faults("benchmarks.fault_injection.appended", request, FAULTS)


class Command:
    """The command in one format, which is interrupted again and again."""

    def __init__(self, folder: Path, output_format: str) -> None:
        self.format, self.results = output_format, folder / "out" / f"results.{output_format}"
        self.new, self.sorted, self.errors = folder / "new", folder / "out" / "sorted", folder / "errors"
        self.arguments = [
            "classify", str(self.new), "--index", str(folder / "start"), "--output", str(self.results),
            "--copy-to", str(self.sorted), "--set", "encoder.backend=descriptor", "--set", "rerank.enabled=false",
            "--set", "encoder.batch_size=3", "--set", "images.threads=1",
        ]  # fmt: skip
        self._faults = ctypes.CDLL(None)
        self._faults.counted.restype = ctypes.c_long
        self.hashes = {path.name: sha256(path.read_bytes()).hexdigest() for path in self.new.iterdir()}
        started = time.monotonic()
        self.calls = self._count_calls()
        self.seconds = time.monotonic() - started

    def _count_calls(self) -> int:
        reader, writer = os.pipe()
        child = self._start(1 << 40, KILL_BEFORE, (), writer)
        os.close(writer)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(reader, "rb") as pipe:
            calls = int(pipe.read() or 0)
        if code:
            raise RuntimeError(self.errors.read_text())
        return calls

    def _start(self, call: int, mode: int, extra: tuple[str, ...], pipe: int | None = None) -> int:
        """Fork a process that runs the command with a fault, and return its number."""
        if not extra:
            shutil.rmtree(self.results.parent, ignore_errors=True)
            self.results.parent.mkdir()
        child = os.fork()
        if child:
            return child
        code = 99
        try:
            handle = os.open(self.errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 2)
            self._faults.arm(str(self.results.parent).encode(), ctypes.c_long(call), mode)
            try:
                app([*self.arguments, *extra])
            except SystemExit as ended:
                code = int(ended.code or 0)
            self._faults_counted(pipe)
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _faults_counted(self, pipe: int | None) -> None:
        if pipe is not None:
            os.write(pipe, str(self._faults.counted()).encode())

    def strike(self, call: int, mode: int, after: float | None = None) -> str | None:
        """Run the command with a fault, or kill it `after` some seconds; return what is wrong afterwards."""
        child = self._start(call, mode, ())
        if after is not None:
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        where = f"{self.format}, call {call}, mode {mode}"
        message = self.errors.read_text(errors="replace").splitlines()
        if code not in (0, 1, 3, -signal.SIGKILL) or any("Traceback" in line for line in message):
            return f"{where}: ended with {code}: {message[-2:]}"
        if code == 1 and not message[-1].startswith("error: Cannot write"):
            return f"{where}: an unclear error: {message[-1:]}"
        before = self._records()
        code = os.waitstatus_to_exitcode(os.waitpid(self._start(0, 0, ("--resume",)), 0)[1])
        problem = f"resuming ended with {code}" if code else self._problem(before)
        return problem and f"{where}: {problem}"

    def _records(self) -> list[bytes]:
        if not self.results.exists():
            return []
        with self.results.open("rb") as file:
            return list(whole_records(file, b'"' if self.format == "csv" else b""))

    def _problem(self, before: list[bytes]) -> str | None:
        """Return what is missing, torn or twice after the command was resumed."""
        after = self._records()
        if after[: len(before)] != before:
            return f"some of {len(before)} results were lost"
        stored = StoredResults.read(self.results, self.format)
        if stored.torn_bytes or len(after) != len(stored.by_path) + (self.format == "csv"):
            return "a result is torn, or there twice"
        if {Path(path).name for path in stored.by_path} != set(self.hashes):
            return f"{len(stored.by_path)} of {len(self.hashes)} results"
        found = {path.relative_to(self.sorted): path for path in self.sorted.rglob("[!.]*") if path.is_file()}
        for result in stored.by_path.values():
            copy = found.pop(Path(normal_label(result.label)) / Path(result.path).name, None)
            if copy is None or sha256(copy.read_bytes()).hexdigest() != result.content_hash:
                return f"the copy of {result.path} is missing or torn"
        return f"{len(found)} copies too many" if found else None


def draw_new(folder: Path) -> None:
    """Draw the images to classify."""
    folder.mkdir()
    for number in range(_IMAGES):
        label = KNOWN[number % 4]
        draw(label, np.random.default_rng((7, number)), 32).save(folder / f"{number:02} {label}.png")


def main() -> None:
    """Read the request from the command line, and print the outcomes as JSON."""
    request = json.loads(sys.argv[1])
    kill, full = (Outcome(fault) for fault in FAULTS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        jobs.draw_datasets(folder)
        jobs.build(folder, folder / "start")
        draw_new(folder / "new")
        commands = [Command(folder, output_format) for output_format in _FORMATS]
        for command in commands:
            for mode in (KILL_BEFORE, KILL_HALFWAY):
                for call in spread(command.calls, max(request["kills"] // 4, 1)):
                    kill.add(command.strike(call, mode))
            for mode in (FULL, EIO_ONCE, EIO):
                for call in spread(command.calls, max(request["faults"] // 6, 1)):
                    full.add(command.strike(call, mode))
        rng = random.Random(0)
        for number in range(request["random"]):
            command = commands[number % len(commands)]
            kill.add(command.strike(0, 0, rng.uniform(0, 1.2 * command.seconds)))
        kill.notes.append(f"calls that change a file: {', '.join(f'{c.format} {c.calls}' for c in commands)}")
    print(json.dumps([vars(outcome) for outcome in (kill, full)]))


if __name__ == "__main__":
    main()
