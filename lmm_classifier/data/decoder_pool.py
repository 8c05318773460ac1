"""Processes that decode pictures of formats whose libraries crash or hang at times: that costs one file, not the run.

A process is given one picture at a time, has a limit of memory and of time, and keeps the chatter of its libraries off
the terminal. It ends with the program that started it.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmm_classifier.core.errors import (
    CorruptImageError,
    ImageError,
    ImageTooLargeError,
    UnreadableImageError,
    UnsupportedImageError,
)

SECONDS = 30.0  # for one picture
COMMAND = (sys.executable, "-m", "lmm_classifier.data.decoder_worker")
_KINDS: dict[str, type[ImageError]] = {
    error.kind: error for error in (CorruptImageError, ImageTooLargeError, UnreadableImageError, UnsupportedImageError)
}
Size = tuple[int, int]


class DecoderPool:
    """Processes that decode, started when needed and used again; as many as there are threads that ask."""

    def __init__(self, command: Sequence[str] = COMMAND, seconds: float = SECONDS) -> None:
        self._command, self._seconds = command, seconds
        self._idle: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self.started = 0

    def decode(self, data: bytes, settings: dict[str, Any]) -> tuple[Size, bytes]:
        """Size and RGB values of a picture; raises ImageError for what the process refuses, or if it fails.

        `settings` are `max_pixels` and `min_side`.
        """
        worker = self._worker()
        watchdog = threading.Timer(self._seconds, worker.kill)
        watchdog.start()
        try:
            answer, pixels = _ask(worker, data, settings)
        except (OSError, ValueError):
            timed_out = not watchdog.is_alive()
            worker.kill()
            code = worker.wait()
            _close(worker)
            said = f"took longer than {self._seconds:g} s" if timed_out else f"crashed its decoder (code {code})"
            raise CorruptImageError(f"damaged picture (it {said})") from None
        finally:
            watchdog.cancel()
        self._give_back(worker)
        if "kind" in answer:
            raise _KINDS.get(answer["kind"], CorruptImageError)(answer["reason"])
        return (answer["width"], answer["height"]), pixels

    def close(self) -> None:
        """End all processes that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            _close(worker)

    def _worker(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._owner != os.getpid():  # after a fork the processes are the other one's
                self._idle, self._owner = [], os.getpid()
            while self._idle:
                worker = self._idle.pop()
                if worker.poll() is None:
                    return worker
                _close(worker)
            self.started += 1
        here = str(Path(__file__).parent.parent)
        paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=env)

    def _give_back(self, worker: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._idle.append(worker)


def _ask(worker: subprocess.Popen[bytes], data: bytes, settings: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """One question and its answer; raises OSError or ValueError if the process is gone or talks nonsense."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps({**settings, "bytes": len(data)}).encode("ascii") + b"\n")
    worker.stdin.write(data)
    worker.stdin.flush()
    answer = json.loads(worker.stdout.readline())
    size = answer.get("width", 0) * answer.get("height", 0) * 3
    pixels = worker.stdout.read(size)
    if len(pixels) != size:
        raise ValueError("the answer broke off")
    return answer, pixels


def _close(worker: subprocess.Popen[bytes]) -> None:
    """End a process that is idle or dead, and its pipes."""
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with suppress(OSError):  # the process is gone
                pipe.close()
    try:
        worker.wait(5)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


POOL = DecoderPool()
atexit.register(POOL.close)
