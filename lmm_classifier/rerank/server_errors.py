"""What can go wrong between a request and its answer."""

from __future__ import annotations


class CallError(Exception):
    """A request that got no usable answer.

    Args:
        reason: what happened, without secrets.
        retry: whether another attempt makes sense.
        status: HTTP status of the answer.
        fault: whether it shows that the server does not work, and not only that it refused this request.
    """

    def __init__(self, reason: str, retry: bool = False, status: int | None = None, fault: bool = True) -> None:
        super().__init__(reason)
        self.retry: bool = retry
        self.status: int | None = status
        self.fault: bool = fault


class UnusableServerError(Exception):
    """The server answers, but it cannot be used: its model sees no image, is another one, or is not understood."""
