"""Ends a worker without progress, so that its task is tried again elsewhere."""

from __future__ import annotations

import logging
import os
import threading
import time
from types import TracebackType
from typing import Self

logger: logging.Logger = logging.getLogger(__name__)

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
        """Say that there is progress."""
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
                logger.error("%s: no batch was finished in %.0f s, so the worker ends", self._what, self._seconds)
                os._exit(EXIT_CODE)
