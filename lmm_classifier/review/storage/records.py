"""What is stored of a run: itself, its items with their results, and what people decided about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.datatypes import DECIDE_THEMSELVES
from lmm_classifier.core.errors import ReviewError

RunState = Literal["running", "done", "cancelled", "failed"]
DecisionKind = Literal["", "label", "unknown", "skip", "accept"]

UNREADABLE = "unreadable"  # no person can decide these


@dataclass(frozen=True)
class Run:
    """A run over images."""

    id: int
    source: Mapping[str, Any]  # where the images come from, as `ImageSource.describe` tells
    created: str  # ISO 8601, UTC
    state: RunState
    total: int | None  # images; None where more may come
    items: int = 0  # images that have a result
    open: int = 0  # those that wait for a person
    decided: int = 0  # by a person
    confident: int = 0  # accepted without one
    unreadable: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**self.__dict__, "source": dict(self.source)}


@dataclass(frozen=True)
class NewItem:
    """An image of a run with its result; `vectors` are those of every encoder that was asked, by its `space_id`."""

    name: str
    content_hash: str  # empty where the bytes could not be read
    result: Mapping[str, Any]  # exactly `Classification.to_dict()`
    index_version: int
    vectors: Mapping[str, Float32Array] = field(default_factory=dict)  # each (dim,)


@dataclass(frozen=True)
class ItemDecision:
    """What a person decided about an item.

    `apart` says that it does not belong to the group that it was shown in. Without a kind the item is still open. With
    the kind `accept` its label is that of its result.
    """

    kind: DecisionKind = ""
    label: str = ""
    apart: bool = False
    answer: int = 0  # the answer that decided it


OPEN = ItemDecision()


@dataclass(frozen=True)
class Item:
    """An image of a run: its newest result, and what a person decided."""

    id: int
    run: int
    name: str
    content_hash: str
    result: Mapping[str, Any]
    index_version: int  # the version of the index that gave the result
    decision: ItemDecision
    change: int = 0  # position in the stream of results

    @property
    def is_open(self) -> bool:
        """Return whether the item waits for a person."""
        return not self.decision.kind and self.result["reason"] not in (*DECIDE_THEMSELVES, UNREADABLE)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON: the result, the id of the item, and the version of the index."""
        kind, label = self.decision.kind, self.decision.label
        decision = {"kind": kind, "label": self.result["label"] if kind == "accept" else label} if kind else None
        own = {"id": self.id, "name": self.name, "index_version": self.index_version, "change": self.change}
        return {**self.result, **own, "decision": decision}


@dataclass(frozen=True)
class Answer:
    """One answer of a person about some items; it can be undone.

    A state other than `done` and `undone` was interrupted: `teaching` before the answer was taken, `undoing` before it
    was taken back.
    """

    id: int
    run: int
    time: str  # ISO 8601, UTC
    state: Literal["teaching", "done", "undoing", "undone"]
    kind: Literal["label", "unknown", "skip", "not_in_group", "accept"]
    label: str
    former: Mapping[int, ItemDecision]  # of each item, before the answer
    present: tuple[str, ...] = ()  # content hashes that were examples of the label before
    edit: int | None = None  # of the index, in its journal
    examples: tuple[str, ...] = ()  # ids of the examples that it added

    @property
    def items(self) -> tuple[int, ...]:
        """Return the ids of the items."""
        return tuple(self.former)

    def decision_of(self, item: int) -> ItemDecision:
        """Return what the answer makes of an item."""
        former = self.former[item]
        if self.kind == "not_in_group":
            return ItemDecision(former.kind, former.label, True, self.id)
        return ItemDecision(self.kind, self.label, former.apart, self.id)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        own = {"id": self.id, "run": self.run, "time": self.time, "state": self.state, "kind": self.kind}
        what = {"label": self.label, "edit": self.edit, "examples": [*self.examples], "items": [*self.items]}
        return {**own, **what}

    def to_row(self) -> tuple[int, str, str, bytes]:
        """Return the columns of its row."""
        about = {
            "kind": self.kind,
            "label": self.label,
            "edit": self.edit,
            "present": list(self.present),
            "examples": list(self.examples),
            "former": [[item, d.kind, d.label, d.apart, d.answer] for item, d in self.former.items()],
        }
        return self.run, self.time, self.state, as_bytes(about)

    @classmethod
    def of_row(cls, row: tuple[Any, ...]) -> Answer:
        """Undo `to_row`; the first column is the number."""
        number, run, time, state, about = row
        values = from_bytes(about)
        former = {item: ItemDecision(*fields) for item, *fields in values["former"]}
        label, present, examples = str(values["label"]), tuple(values["present"]), tuple(values["examples"])
        return cls(number, run, time, state, values["kind"], label, former, present, values["edit"], examples)


def as_bytes(values: Mapping[str, Any]) -> bytes:
    """Return JSON in ASCII, which holds file names of any bytes."""
    return json.dumps(values, ensure_ascii=True).encode("ascii")


def from_bytes(value: bytes) -> dict[str, Any]:
    """Undo `as_bytes`."""
    entry = json.loads(value)
    if not isinstance(entry, dict):
        raise ReviewError("An entry of a run is damaged. Delete the run, and classify the images again.")
    return entry


def text_of(value: bytes) -> str:
    """Return the text that `index.storage.database.encoded` stored."""
    return value.decode("utf-8", "surrogatepass")
