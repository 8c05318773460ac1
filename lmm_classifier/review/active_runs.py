"""Which runs are being classified, by this process or another one: each holds a lock, which ends with its process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from filelock import BaseFileLock, FileLock, Timeout

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.review.storage.records import Run

_MOMENT = 0.05  # seconds: somebody else may only look, too
_PATIENCE = 2.0  # seconds: whoever looks whether a run is under way holds its lock for a moment


def lock_of(index_folder: Path, run: int) -> Path:
    """Return the file whose lock the process holds that works on a run; it stays until the run is deleted."""
    return index_folder / f"run-{run}.lock"


class ActiveRuns:
    """The runs that this process works on, and those that others work on.

    What is stored says that a run is under way from its start to its end. Where the process was killed in between,
    nobody holds the lock of the run.

    Args:
        index_folder: the folder of the index, in which the locks are files.
    """

    def __init__(self, index_folder: Path) -> None:
        self._folder = index_folder
        self._held: dict[int, tuple[BaseFileLock, int]] = {}  # by run: its lock, and how often it was begun here
        self._lock = Lock()

    def begin(self, run: int) -> None:
        """Say that this process works on a run; raise ReviewError where another one does."""
        with self._lock:
            known = self._held.get(run)
            if known is not None:
                self._held[run] = known[0], known[1] + 1
                return
            lock = self._file_lock(run)
            try:
                lock.acquire(timeout=_PATIENCE)
            except Timeout:
                raise ReviewError(
                    f"Another program classifies the images of run {run} now. Wait until it ends."
                ) from None
            except OSError as error:
                raise ReviewError(
                    f"The run {run} cannot be locked: {error.strerror or type(error).__name__}."
                ) from error
            self._held[run] = lock, 1

    def end(self, run: int) -> None:
        """Say that the work is over; as often as it was begun."""
        with self._lock:
            lock, times = self._held.pop(run)
            if times > 1:
                self._held[run] = lock, times - 1
            else:
                lock.release()

    @contextmanager
    def working(self, run: int) -> Iterator[None]:
        """Work on a run in this block; raises what `begin` raises."""
        self.begin(run)
        try:
            yield
        finally:
            self.end(run)

    def is_active(self, run: int) -> bool:
        """Return whether any process works on a run."""
        with self._lock:
            if run in self._held:
                return True
            lock = self._file_lock(run)
            if not Path(lock.lock_file).exists():
                return False
            try:
                lock.acquire(timeout=_MOMENT, poll_interval=_MOMENT / 5)
            except Timeout:
                return True
            except OSError:
                return False  # such as in a folder that this process may only read
            lock.release()
            return False

    def state_of(self, run: Run) -> str:
        """Return the state of a run as it is now.

        That is what is stored; but a run over a folder is `interrupted` where the process that worked on it has ended,
        and one for uploads is `receiving` until it is stopped.
        """
        if run.state != "running":
            return run.state
        if run.source["kind"] == "upload":
            return "receiving"
        return "running" if self.is_active(run.id) else "interrupted"

    def _file_lock(self, run: int) -> BaseFileLock:
        return FileLock(lock_of(self._folder, run), thread_local=False)
