"""Events come in their order, to those who listen to the run, and only the newest are kept."""

import asyncio
import threading

import pytest

from lmm_classifier.core.errors import QueueFullError
from lmm_classifier.server.reviewing import events
from lmm_classifier.server.reviewing.events import RunEvent, RunEvents


def test_events_of_a_thread_arrive():
    """In order, without those of other runs."""

    async def listen():
        told = RunEvents()
        with told.listening(1) as listener:
            thread = threading.Thread(
                target=lambda: [told.publish(run, "progress", {"n": n}) for n in range(3) for run in (1, 2)]
            )
            thread.start()
            seen = []
            while len(seen) < 3:
                seen += await listener.next(60)
            thread.join()
            told.close()
            assert await listener.next(60) == []
            assert listener.is_closed
        with told.listening(1) as late:
            assert late.is_closed
        return seen

    assert asyncio.run(listen()) == [RunEvent("progress", {"n": n}) for n in range(3)]


def test_listeners_are_bounded(monkeypatch):
    """One more is refused, until another goes."""
    monkeypatch.setattr(events, "_LISTENERS", 1)

    async def listen():
        told = RunEvents()
        with told.listening(1), pytest.raises(QueueFullError), told.listening(2):
            pass
        with told.listening(2):
            pass

    asyncio.run(listen())


def test_an_event_is_ascii_on_one_line():
    """Whatever the values hold."""
    assert RunEvent("x", {"a": "\n\n\u2028\udcff"}).encoded() == b'event: x\ndata: {"a": "\\n\\n\\u2028\\udcff"}\n\n'
