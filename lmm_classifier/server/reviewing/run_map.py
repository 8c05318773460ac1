"""Where the open images of a run lie on the map of the dataset: in the middle of the examples that they look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lmm_classifier.core.datatypes import DECIDE_THEMSELVES
from lmm_classifier.review.storage.run_store import RunStore
from lmm_classifier.server.background.mapping import UNIT, MapView

MOST = 5000  # items that are placed


def items_on_map(view: MapView, runs: RunStore, run: int) -> dict[str, Any]:
    """Return the open items of a run with their places on a map; of more than `MOST`, evenly chosen ones.

    An item lies at the mean of the places of its neighbors, weighted by their similarity and by the score of their
    label: between the labels that compete, and at its label where that is nearly certain. One without a neighbor on the
    map has no place, and is counted only.

    Raises:
        NoSuchRunError: there is no run of this number.
    """
    runs.run(run)
    waiting = [item.id for item in runs.undecided(run) if item.reason not in DECIDE_THEMSELVES]
    chosen = waiting if len(waiting) <= MOST else [waiting[n * len(waiting) // MOST] for n in range(MOST)]
    placed = []
    for item in runs.items(chosen):
        place = _place(view, item.result["candidates"])
        if place is not None:
            values = {"item": item.id, "id": item.content_hash, "name": item.name, "label": item.result["label"]}
            placed.append({**values, "x": place[0], "y": place[1]})
    return {
        "run": run,
        "map_version": view.map_version,
        "open": len(waiting),
        "is_sample": len(chosen) < len(waiting),
        "without_place": len(chosen) - len(placed),
        "items": placed,
    }


def _place(view: MapView, candidates: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    found = list(_neighbors(view, candidates))
    if not found:
        return None
    rows, weights = map(np.array, zip(*found, strict=True))
    if not weights.any():
        weights = np.ones(len(rows))
    records = view.records[rows]
    x, y = (float(np.average(records[axis], weights=weights)) / UNIT for axis in ("x", "y"))
    return round(x, 3), round(y, 3)


def _neighbors(view: MapView, candidates: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, float]]:
    """Yield the rows of the map of all neighbors that are on it, with their weights."""
    for candidate in candidates:
        for neighbor in candidate.get("neighbors", ()):
            row = view.rows.get(neighbor["path"])
            if row is not None:
                yield row, max(neighbor["similarity"], 0.0) * candidate["score"]
