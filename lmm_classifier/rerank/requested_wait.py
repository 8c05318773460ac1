"""How long a server asks to wait: the headers `Retry-After`, `retry-after-ms` and `x-ratelimit-reset*`."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

_RESETS = ("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens", "x-ratelimit-reset", "ratelimit-reset")
_EPOCH = 1e9  # a larger number of seconds is a date
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_LONGEST_TEXT = 64


def requested_wait(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Return the seconds that the headers of a refusal ask to wait, 0 or more; None where they name no time.

    Args:
        headers: of the answer; names in lower case.
        now: the time in seconds since 1970; by default that of this machine.
    """
    now = time.time() if now is None else now
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    if (wait := _seconds(headers.get("retry-after"), headers.get("date"), now)) is not None:
        return wait
    waits = [_seconds(headers.get(name), headers.get("date"), now) for name in _RESETS if _spent(headers, name)]
    return max((wait for wait in waits if wait is not None), default=None)


def _spent(headers: Mapping[str, str], reset: str) -> bool:
    """Return whether nothing remains of the limit that `reset` belongs to."""
    remaining = _number(headers.get(reset.replace("reset", "remaining")))
    return remaining is None or remaining < 1


def _seconds(value: str | None, date: str | None, now: float) -> float | None:
    if not value or len(value) > _LONGEST_TEXT:
        return None
    number = _number(value)
    if number is not None:
        return max(0.0, number - now if number > _EPOCH else number)
    text = value.strip().lower()
    if text and not _DURATION.sub("", text):
        return sum(float(amount) * _UNITS[unit] for amount, unit in _DURATION.findall(text))
    moment, server_now = _date(value), _date(date)
    return None if moment is None else max(0.0, moment - (now if server_now is None else server_now))


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value and value.isascii() and len(value) <= _LONGEST_TEXT else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _date(value: str | None) -> float | None:
    """Return an HTTP date (RFC 9110, 5.6.7) in seconds since 1970; None where it is none."""
    if not value or len(value) > _LONGEST_TEXT:
        return None
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError, OSError):
        return None
