"""JSON files that are written item by item, so that memory does not grow with their number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

_EMPTY: Mapping[str, Any] = MappingProxyType({})


class JsonItems:
    """The items of a list, or of an object where they have keys, in a file that is open for writing."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.count: int = 0

    def add(self, value: Any, key: str | None = None) -> None:
        """Write one item."""
        head = "" if key is None else f"{json.dumps(key)}: "
        self._file.write(f"{',' if self.count else ''}\n{head}{json.dumps(value, allow_nan=False)}")
        self.count += 1


@contextmanager
def json_list(path: Path) -> Iterator[JsonItems]:
    """Yield the items of a file that holds a list."""
    with path.open("w", encoding="ascii") as file:
        file.write("[")
        yield JsonItems(file)
        file.write("\n]\n")


@contextmanager
def json_object(path: Path, name: str | None = None, after: Mapping[str, Any] = _EMPTY) -> Iterator[JsonItems]:
    """Yield the items of a file that holds an object; with `name`, of the object that it holds under this name.

    `after` is what follows in the outer object; it may grow until the block ends.
    """
    with path.open("w", encoding="ascii") as file:
        file.write("{" if name is None else f"{{{json.dumps(name)}: {{")
        yield JsonItems(file)
        file.write("\n}")
        if name is not None:
            file.writelines(f",\n{json.dumps(key)}: {json.dumps(value)}" for key, value in after.items())
            file.write("}")
        file.write("\n")
