"""One server: its URL, its pace, its circuit breaker, and what its probe found."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lmm_classifier.rerank.circuit_breaker import CircuitBreaker
from lmm_classifier.rerank.pacing import Pacer
from lmm_classifier.rerank.proxies import proxy_for
from lmm_classifier.rerank.server_errors import CallError
from lmm_classifier.rerank.server_options import ServerOptions

if TYPE_CHECKING:
    from lmm_classifier.rerank.answer_formats import Abilities


class Endpoint:
    """One of the servers that may answer. Only the thread of the event loop changes it."""

    def __init__(self, url: str, options: ServerOptions) -> None:
        self.url = url
        self.proxy: str | None = proxy_for(url, options.proxy)
        self.circuit_breaker: CircuitBreaker = CircuitBreaker(
            options.circuit_breaker_failures, options.circuit_breaker_seconds
        )
        self.pacer: Pacer = Pacer(time.monotonic)  # the clock of an event loop
        self.abilities: Abilities | None = None
        self.compared = False  # whether its model was compared with those of the other servers
        self.under_way: int = 0  # images that it is asked about

    def unavailable(self, seconds: float) -> str | None:
        """Return why no request can be sent within `seconds`; None where one can."""
        if reason := self.circuit_breaker.open_reason():
            return reason
        if self.pacer.pause() >= seconds:
            return f"{self.pacer.reason}; it is not asked for another {self.pacer.pause():.1f} s"
        return None

    def reset_after_fork(self) -> None:
        """Forget the requests under way, which are those of the parent process."""
        self.under_way = 0
        self.circuit_breaker.cancelled()


def choose(endpoints: Sequence[Endpoint], tried: dict[Endpoint, str], seconds: float) -> Endpoint:
    """Return the server that is likely to answer first: without failures, with the least to do, first in the list.

    Args:
        endpoints: all of them.
        tried: those that failed already, each with the reason.
        seconds: until the deadline.

    Raises:
        CallError: if none is left; the message says of each why.
    """
    reasons = dict(tried)
    usable = []
    for endpoint in endpoints:
        if endpoint in tried:
            continue
        if reason := endpoint.unavailable(seconds):
            reasons[endpoint] = reason
        else:
            usable.append(endpoint)
    if not usable:
        raise CallError("; ".join(f"{endpoint.url}: {reason}" for endpoint, reason in reasons.items()))
    return min(usable, key=lambda one: (one.circuit_breaker.failures, one.pacer.pause() > 0, _load(one)))


def _load(endpoint: Endpoint) -> float:
    """Return the work that waits for a server: images, or the seconds that they take where the pace is limited."""
    return endpoint.under_way + endpoint.under_way / endpoint.pacer.rate
