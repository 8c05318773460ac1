"""Memory for decoding: a budget that all threads share, and a test whether the system lacks memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Condition

from lmm_classifier.core.forking import register_for_reset

_SMALL = 8 << 20  # bytes; images below it together need less than the budget, even in dozens of threads
_NOTHING = nullcontext()
_HEADROOM = 64 << 20  # bytes that a decoder may need in addition to its estimate


class MemoryBudget:
    """Bytes that decoders in all threads may use together; an image waits until there is room for it.

    An image larger than the whole budget is decoded alone.
    """

    def __init__(self, total: int) -> None:
        self.total: int = total
        self.used: int = 0
        self._changed = Condition()
        register_for_reset(self)

    def reserved(self, size: int) -> AbstractContextManager[None]:
        """Wait until `size` bytes are free, and hold them. Small images are not counted."""
        return _NOTHING if size < _SMALL else self._held(size)

    @contextmanager
    def _held(self, size: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self.used == 0 or self.used + size <= self.total)
            self.used += size
        try:
            yield
        finally:
            with self._changed:
                self.used -= size
                self._changed.notify_all()

    def reset_after_fork(self) -> None:
        """Forget what threads of the parent process hold: they do not exist in a forked child."""
        self.used, self._changed = 0, Condition()


def has_memory_limit() -> bool:
    """Return whether this process cannot have all memory of the machine: then any decoder may fail on a good file."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
            if resource.getrlimit(kind)[0] != resource.RLIM_INFINITY:
                return True
    with suppress(OSError):
        return Path("/proc/sys/vm/overcommit_memory").read_text(encoding="ascii").strip() == "2"
    return False


def lacks_memory(size: int) -> bool:
    """Return whether `size` bytes cannot be had now; they are asked for and given back unused."""
    try:
        mmap.mmap(-1, size + _HEADROOM).close()
    except (OSError, MemoryError, OverflowError):
        return True
    return False
