"""Tables: a head and rows of cells, which are text, a link within the page, or a proportion with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Link:
    """A cell that leads to another place of the page; without an anchor it is plain text."""

    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Proportion:
    """A cell with a fraction and its 95% interval, both in percent, written and drawn."""

    text: str
    percent: float | None  # 0 to 100; None where there is nothing to count
    low: float
    high: float

    @classmethod
    def of(cls, figure: Mapping[str, Any]) -> Proportion:
        """Return the cell of a figure of `Evaluation.to_dict`, which has `fraction`, `count`, `of` and `interval`."""
        low, high = (100 * end for end in figure["interval"])
        if figure["fraction"] is None:
            return cls("-", None, low, high)
        text = f"{100 * figure['fraction']:.0f}% ({low:.0f} to {high:.0f}), {figure['count']} of {figure['of']}"
        return cls(text, 100 * figure["fraction"], low, high)


Cell = str | Link | Proportion


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column holds names and whose other columns hold numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
