"""Shows progress to a person: in a notebook below the cell, on a terminal as a bar, elsewhere as lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol, Self

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.progress import Progress, ProgressCallback, ProgressOption

_LINE_SECONDS = 5.0  # between two lines where the output is no terminal
_NOTEBOOK_SECONDS = 0.2  # between two states in a notebook: each is a message to the browser


@contextmanager
def displayed(progress: ProgressOption | None) -> Iterator[ProgressCallback | None]:
    """Give what to call with each state: what was given, or a display where that was True.

    Raises:
        ConfigError: it is neither True, False, None nor a function.
    """
    if progress is None or progress is False:
        yield None
    elif progress is True:
        with ProgressDisplay() as display:
            yield display
    elif callable(progress):
        yield progress
    else:
        raise ConfigError(
            f"progress is {progress!r}. Expected True to show it, a function that takes a Progress, or None."
        )


class ProgressDisplay:
    """Shows states of a run. It is a context manager; at the end the last state stays.

    Args:
        write_line: writes a line where there is neither a notebook nor a terminal.
        bar: whether a terminal gets a bar.
    """

    def __init__(self, write_line: Callable[[str], None] | None = None, bar: bool = True) -> None:
        self._write_line, self._bar = write_line or _write_to_stderr, bar
        self._view: _View | None = None
        self._stage = ""
        self._started = self._latest = time.monotonic()

    def __enter__(self) -> Self:
        if is_notebook():
            self._view = _NotebookView()
        elif self._bar and sys.stderr.isatty():
            self._view = _terminal_view()
        self._view = self._view or _LineView(self._write_line)
        return self

    def __call__(self, progress: Progress) -> None:
        """Show the newest state."""
        if progress.stage != self._stage:
            self._stage, self._started = progress.stage, self._latest
        self._latest = time.monotonic()
        if self._view is not None:
            self._view.show(progress, max(self._latest - self._started, 1e-9))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._view is not None:
            self._view.close()


class _View(Protocol):
    def show(self, progress: Progress, seconds: float) -> None:
        """Show a state, `seconds` after its stage began."""

    def close(self) -> None:
        """Leave the last state."""


def is_notebook() -> bool:
    """Return whether this runs in the kernel of a notebook, which shows HTML."""
    interactive = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive is not None and hasattr(interactive, "get_ipython") else None
    return hasattr(shell, "kernel")


def describe(progress: Progress, seconds: float) -> str:
    """Return a state in words: how many of how many, the rate, those skipped, and the time left where it is known."""
    of = "" if progress.total is None else f"/{progress.total}"
    left = ""
    if progress.total is not None and 0 < progress.done < progress.total:
        left = f", {seconds * (progress.total - progress.done) / progress.done:.0f} s left"
    rate = f"{progress.done / seconds:.1f}/s"
    return f"{progress.stage} {progress.done}{of}, {rate}, skipped {progress.skipped}{left}"


class _LineView:
    def __init__(self, write_line: Callable[[str], None]) -> None:
        self._write_line, self._last = write_line, time.monotonic()

    def show(self, progress: Progress, seconds: float) -> None:
        if time.monotonic() - self._last >= _LINE_SECONDS or progress.done == progress.total:
            self._last = time.monotonic()
            self._write_line(describe(progress, seconds))

    def close(self) -> None:
        """Nothing is open."""


class _NotebookView:
    """One output below the cell, whose content is replaced; the notebook stores the last state only."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._shown = float("-inf")
        self._pending: dict[str, str] | None = None

    def show(self, progress: Progress, seconds: float) -> None:
        text = describe(progress, seconds)
        bar = ""
        if progress.total:
            bar = f'<progress value="{min(progress.done, progress.total)}" max="{progress.total}"></progress> '
        self._pending = {"text/html": f"<div>{bar}{escape(text)}</div>", "text/plain": text}
        if time.monotonic() - self._shown >= _NOTEBOOK_SECONDS:
            self._flush()

    def close(self) -> None:
        self._flush()

    def _flush(self) -> None:
        if self._pending is None:
            return
        if self._handle is None:
            display = import_module("IPython.display").display
            self._handle = display(self._pending, raw=True, display_id=True)
        else:
            self._handle.update(self._pending, raw=True)
        self._shown, self._pending = time.monotonic(), None


class _TerminalView:
    def __init__(self, bar: Any) -> None:
        self._bar, self._task = bar, None

    def show(self, progress: Progress, seconds: float) -> None:
        values = {
            "description": progress.stage,
            "total": progress.total,
            "rate": f"{progress.done / seconds:.1f}/s",
            "skipped": progress.skipped,
        }
        if self._task is None:
            self._task = self._bar.add_task(**values)
        self._bar.update(self._task, completed=progress.done, **values)

    def close(self) -> None:
        self._bar.stop()


def _terminal_view() -> _TerminalView | None:
    """Return a bar with rate, time left and counts; None where the terminal shows another one."""
    from rich.console import Console
    from rich.errors import LiveError
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("skipped {task.fields[skipped]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    try:
        bar.start()
    except LiveError:
        return None
    return _TerminalView(bar)


def _write_to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
