"""Ends a worker that does not go on, so that its task is tried again elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import Self

EXIT_CODE = 70  # of a process that a watchdog ended


class Watchdog:
    """Ends this process where `beat` is not called for `seconds` inside a block.

    A library that hangs in native code can be stopped in no other way. The images have limits of their own, which
    apply long before.
    """

    def __init__(self, seconds: float, what: str) -> None:
        self._seconds, self._what = seconds, what
        self._last = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self) -> None:
        """Say that the work goes on."""
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        self.beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(max(min(self._seconds / 10, 10), 0.01)):
            if time.monotonic() - self._last > self._seconds:
                sys.stderr.write(
                    f"{self._what}: no batch of images was finished in {self._seconds:.0f} s, so the worker ends\n"
                )
                sys.stderr.flush()
                os._exit(EXIT_CODE)
