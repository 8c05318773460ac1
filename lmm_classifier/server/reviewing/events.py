"""What happens to runs, told to those who listen: threads publish, and coroutines listen."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from lmm_classifier.core.errors import QueueFullError

_KEPT = 256  # events that a slow listener may be behind; then the oldest are dropped, and it reads the state anew
_LISTENERS = 64


@dataclass(frozen=True, slots=True)
class RunEvent:
    """Something that happened to a run."""

    kind: str
    values: Mapping[str, Any]

    def encoded(self) -> bytes:
        """Return it as a server-sent event."""
        return f"event: {self.kind}\ndata: {json.dumps(self.values)}\n\n".encode("ascii")


@dataclass(eq=False)
class Listener:
    """Receives the events of one run, in the loop where it was made."""

    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    is_closed: bool = False
    _events: deque[RunEvent] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, event: RunEvent | None) -> None:
        """Take an event in any thread; None ends."""
        with suppress(RuntimeError):  # the loop has ended, and so has its listener
            self.loop.call_soon_threadsafe(self._put, event)

    async def next(self, seconds: float) -> list[RunEvent]:
        """Return the events since the last call; wait for one, at most some seconds."""
        if not self._events and not self.is_closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)
        self._changed.clear()
        events = [*self._events]
        self._events.clear()
        return events

    def _put(self, event: RunEvent | None) -> None:
        if event is None:
            self.is_closed = True
        else:
            self._events.append(event)
        self._changed.set()


class RunEvents:
    """Passes events of runs on to all their listeners."""

    def __init__(self) -> None:
        self._listeners: defaultdict[int, set[Listener]] = defaultdict(set)
        self._lock, self._is_closed = Lock(), False

    def publish(self, run: int, kind: str, values: Mapping[str, Any]) -> None:
        """Tell the listeners of a run; call it in any thread."""
        with self._lock:
            listeners = [*self._listeners.get(run, ())]
        for listener in listeners:
            listener.put(RunEvent(kind, values))

    @contextmanager
    def listening(self, run: int) -> Iterator[Listener]:
        """Yield a listener to a run; raise QueueFullError where too many listen."""
        listener = Listener()
        with self._lock:
            count = sum(map(len, self._listeners.values()))
            if count >= _LISTENERS:
                message = f"{count} programs follow runs, which is the limit."
                raise QueueFullError(message, 5.0, count, _LISTENERS, "listeners")
            listener.is_closed = self._is_closed
            self._listeners[run].add(listener)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners[run].discard(listener)
                if not self._listeners[run]:
                    del self._listeners[run]

    def close(self) -> None:
        """End all listeners, and those that come later."""
        with self._lock:
            self._is_closed = True
            listeners = [listener for group in self._listeners.values() for listener in group]
        for listener in listeners:
            listener.put(None)
