"""Objects that hold a model or a connection: they are copied and sent to other processes by what opened them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from lmm_classifier.core.paths import absolute


@runtime_checkable
class Closable(Protocol):
    """An object that holds something until it is closed; closing it twice is no error."""

    def close(self) -> None:
        """Give back what the object holds."""


class Reopened:
    """Base of objects that pickle as the arguments of their constructor.

    A copy opens again what the object holds. Relative paths among the arguments start at the folder in which the
    object was made, so a process in another folder opens the same files.
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *positional: Any, **named: Any) -> Self:
        """Remember the arguments."""
        made = super().__new__(cls)
        made._arguments = tuple(map(_fixed, positional)), {name: _fixed(value) for name, value in named.items()}
        return made

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        positional, named = self._arguments
        return partial(type(self), **named), positional


def _fixed(argument: Any) -> Any:
    return absolute(argument) if isinstance(argument, Path) else argument
