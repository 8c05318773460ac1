"""Adaptive pacing of requests to one server: additive increase, multiplicative decrease (Chiu and Jain, 1989).

A refusal such as 429 means "slower", not "broken". It lowers the rate and pauses all requests; answers raise the rate.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_DECREASE = 0.7  # of the rate at a refusal
_INCREASE = 0.5  # requests per second that are added per second of answers
_RELATIVE_INCREASE = 0.05  # or this fraction of the rate, if it is more
_MIN_RATE = 0.05  # requests per second
_WINDOW = 1.0  # seconds over which the first rate is measured
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0  # seconds, where the server names no time; they double at each refusal
_TRUSTED = 2  # refusals in a row after which the time that a server names is too short
_LONGEST_REQUESTED = 600.0  # seconds; whatever a server asks for, it is tried again after this time


class SlowDownError(Exception):
    """The server refused a request, because there are too many or because it is not ready.

    Args:
        reason: what the server answered.
        wait: seconds that it asked to wait; None where it named no time.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.reason: str = reason
        self.wait: float | None = wait


class Pacer:
    """Says when the next request to one server may be sent.

    Args:
        now: clock in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.rate: float = math.inf  # requests per second
        self._free_at = -math.inf  # when the rate allows the next request
        self._paused_until = -math.inf
        self._lowered_at = -math.inf
        self._sent = 0  # since the last decrease
        self._refusals = 0  # in a row
        self._recent: deque[float] = deque(maxlen=4096)  # when requests were sent that were not refused
        self.reason: str = ""  # of the last refusal
        self.progress_at: float = now()  # when the server last answered a request

    def delay(self) -> float:
        """Return the seconds until the next request may be sent; 0 where it may be sent now."""
        return max(0.0, max(self._free_at, self._paused_until) - self._now())

    def pause(self) -> float:
        """Return the seconds of `delay` that are a pause after a refusal."""
        return max(0.0, self._paused_until - self._now())

    def sent(self) -> float:
        """Count a request that is sent now, and return the time."""
        now = self._now()
        self._sent += 1
        self._free_at = max(now, self._free_at) + 1 / self.rate
        self._recent.append(now)
        return now

    def answered(self) -> None:
        """Raise the rate, because the server answered."""
        self._refusals = 0
        self.progress_at = self._now()
        if self.rate <= 1 + 2 * self._recent_rate():  # else it is not the rate that limits the requests
            self.rate += max(_INCREASE / self.rate, _RELATIVE_INCREASE)

    def refused(self, sent_at: float, wait: float | None, reason: str) -> None:
        """Lower the rate and pause. Refusals of requests sent before the last decrease lower it no further.

        A request that was sent alone was not one of too many: its refusal makes a pause only, which grows.

        Args:
            sent_at: what `sent` returned.
            wait: seconds that the server asked to wait, if it did.
            reason: what it answered.
        """
        now, pause, self.reason = self._now(), 0.0, reason
        if sent_at in self._recent:
            self._recent.remove(sent_at)
        if sent_at > self._lowered_at:
            if self._sent > 1:
                rate = self.rate if self.rate < math.inf else max(1.0, self._recent_rate())
                self.rate = max(_MIN_RATE, _DECREASE * rate)
            self._lowered_at, self._sent = now, 0
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._refusals, 10))
            if wait is not None and self._refusals < _TRUSTED:
                pause = 0.0  # the server knows better
            self._refusals += 1
        self._paused_until = max(self._paused_until, now + max(pause, min(wait or 0.0, _LONGEST_REQUESTED)))

    def _recent_rate(self) -> float:
        oldest = self._now() - _WINDOW
        return sum(moment > oldest for moment in self._recent) / _WINDOW


async def send_paced(
    pacer: Pacer,
    turn: asyncio.Lock,
    send: Callable[[], Awaitable[T]],
    until: float,
    patience: float = math.inf,
) -> T:
    """Send when the pacer allows it, and again after each refusal.

    Args:
        pacer: of the server.
        turn: requests to one server take turns to wait, so that none is overtaken.
        send: sends the request; raises SlowDownError where the server refuses it.
        until: the deadline in the loop's time, which is also the pacer's; infinite where there is none.
        patience: seconds without any answer of the server after which a refusal is final.

    Raises:
        SlowDownError: if the next request would be sent after the deadline.
    """
    now, started = asyncio.get_running_loop().time, asyncio.get_running_loop().time()
    while True:
        async with turn:
            while (delay := pacer.delay()) > 0:
                if now() + delay >= until:
                    raise SlowDownError(_too_late(pacer))
                await asyncio.sleep(delay)
            sent_at = pacer.sent()
        try:
            result = await send()
        except SlowDownError as error:
            pacer.refused(sent_at, error.wait, error.reason)
            if now() - max(started, pacer.progress_at) + pacer.pause() > patience:
                raise
            continue
        pacer.answered()
        return result


def _too_late(pacer: Pacer) -> str:
    if pacer.pause():
        return f"{pacer.reason}; it is not asked for another {pacer.pause():.1f} s, which is after the deadline"
    return f"it accepts {pacer.rate:.2g} requests per second, too few for the deadline; its refusal: {pacer.reason}"
