"""Runs, items and answers as JSON, without a path of the disk of the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmm_classifier.review.ordering import ReviewGroup
from lmm_classifier.review.storage.records import Answer, Item
from lmm_classifier.server.results import ExampleIds

SHOWN_ITEMS = 12  # of a group that are returned whole; of the others only the ids
_SHOWN_ANSWER = 100  # ids of items of an answer


def item_values(item: Item, ids: ExampleIds) -> dict[str, Any]:
    """Return an item with its result; each neighbor has the id of its example too."""
    values = {**item.to_dict(), "run": item.run, "path": None}
    if path := item.result["path"]:  # where the file lies on the disk concerns nobody
        for name in ("error", "why"):
            values[name] = values[name] and values[name].replace(path, item.name)
    values["apart"] = item.decision.apart
    values["candidates"] = [
        {
            **candidate,
            "neighbors": [
                {**neighbor, "id": ids.hash_of(neighbor["path"])} for neighbor in candidate.get("neighbors", ())
            ],
        }
        for candidate in item.result["candidates"]
    ]
    return values


def group_values(group: ReviewGroup, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a group with its first items; `rest` has the ids of the others."""
    return {
        "id": group.id,
        "kind": group.kind,
        "size": len(group.items),
        "suggested_label": group.suggested_label,
        "nearest_label": group.nearest_label,
        "is_proposal": group.is_proposal,
        "gain": group.gain,
        "tightness": group.tightness,
        "score": group.score,
        "items": [*items],
        "rest": [*group.items[len(items) :]],
    }


def answer_values(answer: Answer) -> dict[str, Any]:
    """Return an answer; of a large one only the first items."""
    return {
        "id": answer.id,
        "run": answer.run,
        "time": answer.time,
        "state": answer.state,
        "kind": answer.kind,
        "label": answer.label,
        "edit": answer.edit,
        "size": len(answer.items),
        "items": [*answer.items[:_SHOWN_ANSWER]],
    }
