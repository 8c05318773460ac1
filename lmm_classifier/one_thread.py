"""Linear algebra on one thread, for what is stored: with more, a matrix library sums in another order."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class _Limit:
    """One limit for the whole process, held as long as any of its threads is inside."""

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._held: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._held = _libraries().limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._held is not None:
                self._held.restore_original_limits()


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # looks through all loaded libraries, so once is enough


_LIMIT = _Limit()


def on_one_thread(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function compute the same bits whatever number of threads the matrix library may use."""

    @wraps(function)
    def limited(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        with _LIMIT:
            return function(*arguments, **named)

    return limited
