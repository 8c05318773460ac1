"""Pages of the review queue, in an order that stays while items are answered."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lmm_classifier.core.datatypes import DECIDE_THEMSELVES
from lmm_classifier.core.errors import ReviewError
from lmm_classifier.review.ordering import ReviewGroup
from lmm_classifier.review.storage.database import ReviewDatabase
from lmm_classifier.review.storage.records import as_bytes, from_bytes
from lmm_classifier.review.storage.run_store import RunStore
from lmm_classifier.review.storage.tables import ORDERS

_ORDERS = 20  # of a run that are kept; the pages of older ones cannot be asked for any more


@dataclass(frozen=True)
class ReviewPage:
    """Some groups of open items, and where the next ones are."""

    groups: tuple[ReviewGroup, ...]
    cursor: str | None  # None: these were the last ones of this order
    start: str  # the cursor of this page itself


class ReviewQueue:
    """Stored orders of groups. A page shows what is still open of them, so an answer moves nothing."""

    def __init__(self, database: ReviewDatabase, store: RunStore) -> None:
        self._database, self._store = database, store

    def keep(self, run: int, groups: Sequence[ReviewGroup]) -> str:
        """Store an order; return the cursor of its first page."""
        stored = as_bytes({"groups": [group.to_dict() for group in groups]})
        with self._database.writing() as connection:
            number = ORDERS.put(connection, (run, stored))
            statement = "SELECT id FROM orders WHERE run = ? ORDER BY id DESC LIMIT -1 OFFSET ?"
            for (old,) in connection.execute(statement, (run, _ORDERS)).fetchall():
                connection.execute("DELETE FROM orders WHERE id = ?", (old,))
        return _cursor(run, number, 0)

    def page(self, cursor: str, limit: int) -> ReviewPage:
        """Return at most `limit` groups that still have open items, from a position in a stored order.

        Raises ReviewError where the cursor is none of this program, or its order is gone.
        """
        run, number, position = _position(cursor)
        with self._database.reading() as connection:
            rows = list(ORDERS.rows(connection, "WHERE id = ? AND run = ?", (number, run)))
        if not rows:
            raise ReviewError("This order of the review is not stored any more. Start again without a cursor.")
        groups = [ReviewGroup.from_dict(values) for values in from_bytes(rows[0][2])["groups"]]
        undecided = {item.id: item for item in self._store.undecided(run)}
        still_open = {item.id for item in undecided.values() if item.reason not in DECIDE_THEMSELVES}
        chosen = list[ReviewGroup]()
        while position < len(groups) and len(chosen) < limit:
            group = groups[position]
            position += 1
            alone = len(group.items) == 1
            items = tuple(item for item in group.items if item in still_open and (alone or not undecided[item].apart))
            if items:
                gain = group.gain * len(items) / len(group.items)
                chosen.append(replace(group, items=items, gain=gain))
        return ReviewPage(tuple(chosen), _cursor(run, number, position) if position < len(groups) else None, cursor)


def _cursor(run: int, number: int, position: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([run, number, position]).encode("ascii")).decode("ascii").rstrip("=")


def _position(cursor: str) -> tuple[int, int, int]:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
        run, number, position = values
        if all(type(value) is int and 0 <= value < 2**62 for value in values):
            return run, number, position
    except (ValueError, TypeError, binascii.Error, RecursionError):
        pass
    raise ReviewError("This is no cursor of a review. Start again without a cursor.")
