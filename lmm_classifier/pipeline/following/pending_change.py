"""Which change of an index does not count yet, and since when."""

from __future__ import annotations

import time
from threading import Condition

from lmm_classifier.core.forking import register_for_reset
from lmm_classifier.index.watcher import IndexWatcher, NoWatcher


class PendingChange:
    """The changes of an index that were seen and not yet followed.

    One thread takes a change, follows it, and says that it is done. Any thread may ask how old the oldest one is.
    """

    def __init__(self, watcher: IndexWatcher | NoWatcher) -> None:
        self._watcher = watcher
        self._seen, self._taken, self._done = 0, 0, 0  # numbers of changes
        self._since: float | None = None  # when the oldest change was seen that is not done
        self._next: float | None = None  # when the oldest change was seen that was not taken
        self._is_closed = False
        self._changed = Condition()
        register_for_reset(self)

    def take(self) -> bool:
        """Return whether there is a change that nobody took, and take it."""
        with self._changed:
            self._notice()
            is_new, self._taken, self._next = self._seen > self._taken, self._seen, None
            return is_new

    def done(self) -> None:
        """Say that all that was taken counts now."""
        with self._changed:
            self._done, self._since = self._taken, self._next
            self._changed.notify_all()

    @property
    def age(self) -> float:
        """Return the seconds since the oldest change that does not count yet was seen; 0 where all count."""
        with self._changed:
            self._notice()
            return 0.0 if self._since is None else max(time.monotonic() - self._since, 0.0)

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds until every change before this call counts; return whether it does."""
        with self._changed:
            self._notice()
            wanted = self._seen
            self._changed.wait_for(lambda: self._is_closed or self._done >= wanted, timeout)
            return self._done >= wanted

    def close(self) -> None:
        """Close the watcher and end all waiting."""
        with self._changed:
            self._is_closed = True
            self._watcher.close()
            self._changed.notify_all()

    def reset_after_fork(self) -> None:
        """Let a change be followed again that a thread of the parent process has taken."""
        self._changed = Condition()
        self._taken, self._next = self._done, self._since

    def _notice(self) -> None:
        if self._is_closed or not self._watcher.changed():
            return
        self._seen += 1
        now = time.monotonic()
        self._next = now if self._next is None else self._next
        self._since = now if self._since is None else self._since
