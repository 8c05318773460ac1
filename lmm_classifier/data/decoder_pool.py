"""Processes that decode images of fragile formats, so that a crash or a hang costs one file and not the run.

A process decodes one image at a time, under limits of memory and time. It discards the output of its libraries, and it
ends with the program that started it.
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
from lmm_classifier.core.forking import register_for_reset

SECONDS = 30.0  # limit for one image
COMMAND = (sys.executable, "-m", "lmm_classifier.data.decoder_worker")
_KINDS: dict[str, type[ImageError]] = {
    error.kind: error for error in (CorruptImageError, ImageTooLargeError, UnreadableImageError, UnsupportedImageError)
}
Size = tuple[int, int]


class DecoderPool:
    """Decoder processes, started when needed and used again; as many as there are threads that call `decode`."""

    def __init__(self, command: Sequence[str] = COMMAND, seconds: float = SECONDS) -> None:
        self._command, self._seconds = command, seconds
        self._idle: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self.started = 0
        register_for_reset(self)

    def decode(self, data: bytes, settings: dict[str, Any]) -> tuple[Size, bytes]:
        """Decode an image in one of the processes.

        Args:
            data: the bytes of the file.
            settings: `max_pixels` and `min_side`.

        Returns:
            Width and height in pixels, and the RGB values.

        Raises:
            ImageError: the process refuses the image, crashes on it or takes too long.
        """
        worker = self._worker()
        watchdog = threading.Timer(self._seconds, worker.kill)
        watchdog.start()
        try:
            response, pixels = _send_request(worker, data, settings)
        except (OSError, ValueError):
            timed_out = not watchdog.is_alive()
            worker.kill()
            code = worker.wait()
            _close(worker)
            event = f"took longer than {self._seconds:g} s" if timed_out else f"crashed its decoder (code {code})"
            raise CorruptImageError(f"damaged image (it {event})") from None
        finally:
            watchdog.cancel()
        self._give_back(worker)
        if "kind" in response:
            raise _KINDS.get(response["kind"], CorruptImageError)(response["reason"])
        return (response["width"], response["height"]), pixels

    def reset_after_fork(self) -> None:
        """Leave the processes to the parent; this process starts its own."""
        for worker in self._idle:
            worker.returncode = 0  # not a child of this process: nothing to wait for
            _close(worker)
        self._idle, self._lock = [], threading.Lock()

    def close(self) -> None:
        """End all idle processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            _close(worker)

    def _worker(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._owner != os.getpid():  # after a fork the processes belong to the parent
                self._idle, self._owner = [], os.getpid()
            while self._idle:
                worker = self._idle.pop()
                if worker.poll() is None:
                    return worker
                _close(worker)
            self.started += 1
        package = str(Path(__file__).parent.parent)
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=env)

    def _give_back(self, worker: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._idle.append(worker)


def _send_request(
    worker: subprocess.Popen[bytes], data: bytes, settings: dict[str, Any]
) -> tuple[dict[str, Any], bytes]:
    """Send one request and return the response; raises OSError or ValueError if the process died or is out of step."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps({**settings, "bytes": len(data)}).encode("ascii") + b"\n")
    worker.stdin.write(data)
    worker.stdin.flush()
    response = json.loads(worker.stdout.readline())
    size = response.get("width", 0) * response.get("height", 0) * 3
    pixels = worker.stdout.read(size)
    if len(pixels) != size:
        raise ValueError("the response is incomplete")
    return response, pixels


def _close(worker: subprocess.Popen[bytes]) -> None:
    """End a process that is idle or dead, and close its pipes."""
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            with suppress(OSError):  # the process is dead
                pipe.close()
    try:
        worker.wait(5)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


POOL = DecoderPool()
atexit.register(POOL.close)
