"""Processes that decode images, so that a crash, a hang or a costly file costs one image and not the run.

A process decodes one image at a time, under limits of memory and time that count for each image. It discards the output
of its libraries, and it ends with the program that started it. An image whose process ends is tried once more, in a new
process while no other suspect is decoded. That a process ended says nothing about the file.
"""

from __future__ import annotations

import atexit
import json
import signal
import subprocess
import threading
from contextlib import suppress

from PIL import Image

from lmm_classifier.core.errors import (
    CorruptImageError,
    ImageError,
    ImageTooLargeError,
    UndecodedImageError,
    UnreadableImageError,
    UnsupportedImageError,
)
from lmm_classifier.core.forking import register_for_reset
from lmm_classifier.data.decoding.decoder_start import PROGRAM, start_decoder
from lmm_classifier.data.decoding.strips import rows_of_strips
from lmm_classifier.data.limits import ImageLimits

SECONDS = 60.0  # without an answer; processor time is limited by the process itself
_KINDS: dict[str, type[ImageError]] = {
    error.kind: error for error in (CorruptImageError, ImageTooLargeError, UnreadableImageError, UnsupportedImageError)
}
_Request = dict[str, float | None]


class _ProcessEndedError(Exception):
    """A process gave no answer; `again` says that the image deserves another try."""

    def __init__(self, event: str, again: bool = True) -> None:
        super().__init__(event)
        self.again = again


class DecoderPool:
    """Decoder processes, started when needed and used again; as many as there are threads that call `decode`."""

    def __init__(self, program: str = PROGRAM, seconds: float = SECONDS) -> None:
        self.program: str = program
        self._seconds = seconds
        self._idle: list[subprocess.Popen[bytes]] = []
        self._reset()
        self.started: int = 0
        register_for_reset(self)

    def decode(self, data: bytes, limits: ImageLimits, min_side: int | None = None, memory: int = 0) -> Image.Image:
        """Decode an image in one of the processes.

        Args:
            data: the bytes of the file.
            limits: what its decoding may cost.
            min_side: the side in pixels that is needed, or None.
            memory: bytes that a sound file of this size needs; a refusal counts only where they can be had.

        Returns:
            An upright RGB image.

        Raises:
            ImageError: the process refuses the image.
            UndecodedImageError: the process ended without an answer, or none could be started.
        """
        request = {**limits.to_request(), "min_side": min_side, "memory": memory}
        try:
            try:
                return self._attempt(data, request)
            except _ProcessEndedError as first:
                if not first.again:
                    raise
                with self._alone:
                    self.close()  # an old process may be what is wrong
                    return self._attempt(data, request)
        except _ProcessEndedError as error:
            raise UndecodedImageError(f"not decoded: its decoder {error}") from None

    def reset_after_fork(self) -> None:
        """Leave the processes to the parent; this process starts its own."""
        for worker in self._idle:
            worker.returncode = 0  # not a child of this process: nothing to wait for
            _close(worker)
        self._reset()

    def close(self) -> None:
        """End all idle processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            _close(worker)

    def _attempt(self, data: bytes, request: _Request) -> Image.Image:
        worker = self._worker()
        watchdog = threading.Timer(self._seconds, worker.kill)
        try:
            watchdog.start()
            answer = _send_request(worker, data, request)
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: the system has no more threads
            raise _end(worker, watchdog, self._seconds, request) from error
        except BaseException:  # an interruption: the process is out of step
            worker.kill()
            _close(worker)
            raise
        finally:
            watchdog.cancel()
            if watchdog.ident is not None:  # it was started: no thread is left
                watchdog.join()
        with self._lock:
            self._idle.append(worker)
        if isinstance(answer, ImageError):
            raise answer
        return answer

    def _worker(self) -> subprocess.Popen[bytes]:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.poll() is None:
                    return worker
                _close(worker)
            self.started += 1
        try:
            return start_decoder(self.program)
        except OSError as error:
            raise _ProcessEndedError(f"cannot be started ({error.strerror or error})") from error

    def _reset(self) -> None:
        """Begin without processes and with free locks, as in a forked child: what there is belongs to the parent."""
        self._idle, self._lock, self._alone = [], threading.Lock(), threading.Lock()


def _send_request(worker: subprocess.Popen[bytes], data: bytes, request: _Request) -> Image.Image | ImageError:
    """Send one request and return the answer; raises OSError or ValueError if the process died or is out of step."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(json.dumps({**request, "bytes": len(data)}).encode("ascii") + b"\n")
    worker.stdin.write(data)
    worker.stdin.flush()
    response = json.loads(worker.stdout.readline())
    if "kind" in response:
        kind = _KINDS.get(response["kind"], UndecodedImageError) if response["proven"] else UndecodedImageError
        return kind(response["reason"])
    width, height = response["width"], response["height"]
    image = Image.new("RGB", (width, height))
    for rows in rows_of_strips(width, height):
        size = 3 * width * len(rows)
        pixels = worker.stdout.read(size)
        if len(pixels) != size:
            raise ValueError("the response is incomplete")
        image.paste(Image.frombytes("RGB", (width, len(rows)), pixels), (0, rows.start))
    return image


def _end(
    worker: subprocess.Popen[bytes], watchdog: threading.Timer, seconds: float, request: _Request
) -> _ProcessEndedError:
    """End a process that gave no answer, and say what happened to it."""
    timed_out = watchdog.ident is not None and not watchdog.is_alive()
    with suppress(subprocess.TimeoutExpired):
        worker.wait(1)  # it may be ending
    worker.kill()
    code = worker.wait()
    _close(worker)
    if code == -getattr(signal, "SIGPROF", 0):
        return _ProcessEndedError(
            f"took more processor time than images.max_seconds ({request['max_seconds']:g} s)", False
        )
    if timed_out:
        return _ProcessEndedError(f"gave no answer for {seconds:g} s")
    return _ProcessEndedError(f"ended with code {code}")


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
