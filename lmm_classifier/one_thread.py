"""Linear algebra on one thread, for what is stored: with more, a matrix library sums in another order."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from threading import RLock
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# The limit is one of the whole process, and only the thread that set it can lift it: so one at a time is inside.
_LOCK = RLock()


@cache
def _libraries() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # looks through all loaded libraries, so once is enough


def on_one_thread(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let a function compute the same bits whatever number of threads the matrix library may use."""

    @wraps(function)
    def limited(*arguments: Parameters.args, **named: Parameters.kwargs) -> Result:
        with _LOCK, _libraries().limit(limits=1, user_api="blas"):
            return function(*arguments, **named)

    return limited
