"""Filters of the cards of a section: links that leave only the cards of one name; they work without scripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from lmm_classifier.html.cards import Card

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Filter:
    """A link to the cards of one name. Its anchor is also the CSS class of these cards."""

    anchor: str
    text: str
    shown: int  # cards that it leaves
    total: int  # images of this name, also those without a card

    @property
    def count(self) -> str:
        """Return how many images there are, and how many of them have a card."""
        return str(self.total) if self.shown == self.total else f"{self.shown} of {self.total}"

    @property
    def rule(self) -> str:
        """Return the CSS that hides the other cards while the address names this filter."""
        return f"#{self.anchor}:target~* article:not(.{self.anchor}){{display:none}}"


@dataclass(frozen=True, slots=True)
class FilteredCards(Generic[Name]):
    """Cards, the filters that choose among them, and where the cards of each name are."""

    cards: Sequence[Card]
    filters: Sequence[Filter]
    anchors: Mapping[Name, str]


def filtered(
    section: str,
    cards: Sequence[tuple[Name, Card]],
    describe: Callable[[Name], str] = str,
    totals: Mapping[Name, int] | None = None,
) -> FilteredCards[Name]:
    """Give each card the CSS class of its name, and return a filter for each name, the most frequent first.

    Cards of one name only need no filter.

    Args:
        section: anchor of the section that holds the cards.
        cards: each with the name by which it is chosen, such as its label.
        describe: returns the text of a filter for a name.
        totals: images of each name, where some have no card.
    """
    shown = Counter(name for name, _ in cards)
    if len(shown) < 2:
        return FilteredCards([card for _, card in cards], [], dict.fromkeys(shown, section))
    counts = {name: totals[name] if totals else count for name, count in shown.items()}
    names = sorted(shown, key=lambda name: -counts[name])
    anchors = {name: f"{section}-{number}" for number, name in enumerate(names, 1)}
    marked = [replace(card, filters=(*card.filters, anchors[name])) for name, card in cards]
    filters = [Filter(anchors[name], describe(name), shown[name], counts[name]) for name in names]
    return FilteredCards(marked, filters, anchors)


def spread(names: Sequence[Hashable], most: int) -> list[int]:
    """Choose at most `most` places of items, the first of each name before the second of any; return them ascending."""
    seen = Counter[Hashable]()
    rounds = []
    for place, name in enumerate(names):
        rounds.append((seen[name], place))
        seen[name] += 1
    return sorted(place for _, place in sorted(rounds)[:most])
