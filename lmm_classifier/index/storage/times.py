"""How long each encoder took for an image, measured while the index was built. No answer depends on it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage import database
from lmm_classifier.index.storage.state import TIMES


def read_milliseconds(connection: sqlite3.Connection, source: str) -> dict[str, float]:
    """Return the mean time per image of each encoder by its `Fingerprint.space_id`; nothing where it is damaged."""
    return {encoder: 1000 * seconds / images for encoder, (seconds, images) in _read(connection, source).items()}


def add_times(connection: sqlite3.Connection, source: str, times: Mapping[str, tuple[float, int]]) -> None:
    """Add the seconds that each encoder took for a number of images."""
    totals = _read(connection, source)
    for encoder, (seconds, images) in times.items():
        former = totals.get(encoder, (0.0, 0))
        if images:
            totals[encoder] = former[0] + seconds, former[1] + images
    database.set_meta(connection, TIMES, json.dumps(totals).encode("ascii"))


def _read(connection: sqlite3.Connection, source: str) -> dict[str, tuple[float, int]]:
    try:
        entry = database.get_meta(connection, TIMES, source)
        values = {} if entry is None else database.as_json(entry, source)
        return {encoder: (float(seconds), int(images)) for encoder, (seconds, images) in values.items() if images}
    except (IndexFileError, ValueError, TypeError):
        return {}
