"""Runs and their items: written while images are classified, and read in the order in which results change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.datatypes import DECIDE_THEMSELVES
from lmm_classifier.core.errors import NoSuchRunError, ReviewError
from lmm_classifier.index.storage.database import encoded
from lmm_classifier.review.storage.database import ReviewDatabase
from lmm_classifier.review.storage.deletion import delete_rows, uploaded_hashes
from lmm_classifier.review.storage.records import (
    OPEN,
    UNREADABLE,
    Item,
    ItemDecision,
    NewItem,
    Run,
    RunState,
    as_bytes,
    from_bytes,
    text_of,
)
from lmm_classifier.review.storage.tables import (
    DECISIONS,
    ITEMS,
    RESULTS,
    RUNS,
    VECTORS,
)

_AT_ONCE = 500  # items asked for in one statement
_NOT_OPEN = (*DECIDE_THEMSELVES, UNREADABLE)
_DTYPE = np.dtype("<f4")  # as the encoder gave them, so that a new vote gives what `classify` would give


@dataclass(frozen=True)
class Revoted:
    """The new result of an item."""

    item: int
    index_version: int
    result: Mapping[str, Any]


@dataclass(frozen=True)
class Undecided:
    """An item without a decision of a person, with its newest reason and label."""

    id: int
    reason: str
    label: str
    apart: bool  # it does not belong to the group that it was shown in


class RunStore:
    """The runs in a database, their items, results and vectors."""

    def __init__(self, database: ReviewDatabase) -> None:
        self._database = database

    def create(self, source: Mapping[str, Any], total: int | None = None) -> Run:
        """Start a run; `source` is JSON that tells where its images come from."""
        row = (as_bytes(source), now(), "running", -1 if total is None else total)
        with self._database.writing() as connection:
            number = RUNS.put(connection, row)
        return self.run(number)

    def run(self, number: int) -> Run:
        """Return a run; raise NoSuchRunError where there is none of this number."""
        with self._database.reading() as connection:
            for row in RUNS.rows(connection, "WHERE id = ?", (number,)):
                return _run(row, connection)
        raise NoSuchRunError(f"There is no run {number}. It was deleted, or it is of another index.")

    def runs(self, limit: int = -1, before: int | None = None) -> list[Run]:
        """Return runs, newest first: all, or so many that are older than the run `before`."""
        where = "WHERE (?1 IS NULL OR id < ?1) ORDER BY id DESC LIMIT ?2"
        with self._database.reading() as connection:
            return [_run(row, connection) for row in RUNS.rows(connection, where, (before, limit))]

    def count_open(self) -> int:
        """Return how many items of all runs wait for a person."""
        statement = (
            "SELECT count(*) FROM results LEFT JOIN decisions ON decisions.item = results.item "
            f"WHERE reason NOT IN ({_marks(_NOT_OPEN)}) AND coalesce(kind, '') = ''"
        )
        with self._database.reading() as connection:
            return int(connection.execute(statement, _NOT_OPEN).fetchone()[0])

    def set_state(self, number: int, state: RunState, total: int | None = None) -> None:
        """Store the state of a run, and the number of its images where it is known now."""
        with self._database.writing() as connection:
            for _, source, created, _, former in list(RUNS.rows(connection, "WHERE id = ?", (number,))):
                row = (source, created, state, former if total is None else total)
                RUNS.replace(connection, number, row)

    def names(self, number: int) -> set[str]:
        """Return the names of the images of a run that have a result."""
        with self._database.reading() as connection:
            return {text_of(name) for (name,) in connection.execute("SELECT name FROM items WHERE run = ?", (number,))}

    def add(self, number: int, items: Iterable[NewItem]) -> list[int]:
        """Store images with their results, in one commit, and return their ids.

        An image with the name and content of a stored one is that one.
        """
        ids = []
        with self._database.writing() as connection:
            if not connection.execute("SELECT 1 FROM runs WHERE id = ?", (number,)).fetchone():
                raise NoSuchRunError(f"There is no run {number}: it was deleted while its images were classified.")
            for item in items:
                key = (number, encoded(item.name), item.content_hash.encode("ascii"))
                known = connection.execute("SELECT id FROM items WHERE run = ? AND name = ? AND hash = ?", key)
                if row := known.fetchone():
                    ids.append(int(row[0]))
                    continue
                ids.append(ITEMS.put(connection, key))
                _put_result(connection, number, Revoted(ids[-1], item.index_version, item.result))
                for encoder, vector in item.vectors.items():
                    VECTORS.put(connection, (ids[-1], encoder, np.asarray(vector, _DTYPE).tobytes()))
        return ids

    def put_results(self, number: int, results: Sequence[Revoted]) -> None:
        """Store new results of items; they come again in the stream."""
        with self._database.writing() as connection:
            for result in results:
                _put_result(connection, number, result)

    def items(self, ids: Sequence[int]) -> list[Item]:
        """Return items by their ids, in this order; raise NoSuchRunError where one does not exist."""
        with self._database.reading() as connection:
            found = {item.id: item for item in _items(connection, ids)}
        missing = [item for item in ids if item not in found]
        if missing:
            raise NoSuchRunError(f"There is no item {missing[0]} in the runs of this index. Its run may be deleted.")
        return [found[item] for item in ids]

    def after(self, number: int, change: int = 0, limit: int = 1000) -> list[Item]:
        """Return the items of a run that changed after a position in the stream, oldest change first.

        An item that changed several times comes once, as it is now. `Item.change` of the last one is the position to
        ask for next.
        """
        with self._database.reading() as connection:
            changed = connection.execute(
                "SELECT item FROM changes WHERE run = ? AND number > ? ORDER BY number LIMIT ?", (number, change, limit)
            )
            wanted = [item for (item,) in changed]
            found = list(_items(connection, wanted))
        if len(found) < len(wanted):
            raise ITEMS.damaged
        return found

    def undecided(self, number: int) -> list[Undecided]:
        """Return the items that nobody decided, by their ids; unreadable and reranked ones are not among them."""
        statement = (
            "SELECT items.id, results.reason, results.label, coalesce(decisions.apart, 0) "
            "FROM items JOIN results ON results.item = items.id LEFT JOIN decisions ON decisions.item = items.id "
            "WHERE items.run = ? AND results.reason NOT IN (?, 'reranked') AND coalesce(decisions.kind, '') = '' "
            "ORDER BY items.id"
        )
        with self._database.reading() as connection:
            rows = connection.execute(statement, (number, UNREADABLE)).fetchall()
        return [Undecided(item, reason, text_of(label), bool(apart)) for item, reason, label, apart in rows]

    def ids(self, number: int, start: int, stop: int) -> list[int]:
        """Return the ids of the items of a run from `start` to below `stop`, ascending."""
        statement = "SELECT id FROM items WHERE run = ? AND id >= ? AND id < ? ORDER BY id"
        with self._database.reading() as connection:
            return [item for (item,) in connection.execute(statement, (number, start, stop))]

    def last_id(self) -> int:
        """Return the id of the newest item of all runs, 0 where there is none."""
        with self._database.reading() as connection:
            return int(connection.execute("SELECT coalesce(max(id), 0) FROM items").fetchone()[0])

    def hashes_of(self, ids: Sequence[int]) -> list[str]:
        """Return the content hashes of items, without those that do not exist."""
        with self._database.reading() as connection:
            rows = (connection.execute("SELECT hash FROM items WHERE id = ?", (int(item),)).fetchone() for item in ids)
            return [row[0].decode("ascii") for row in rows if row is not None]

    def vectors(self, ids: Sequence[int], encoder: str, dim: int) -> tuple[Float32Array, IntArray]:
        """Return the vectors (m, dim) of those of n items that an encoder was asked about, and their places (m,)."""
        places = {item: place for place, item in enumerate(ids)}
        found = list[tuple[int, bytes]]()
        with self._database.reading() as connection:
            for part in _parts(ids):
                where = f"WHERE encoder = ? AND item IN ({_marks(part)})"
                found += [
                    (places[item], vector) for item, _, vector in VECTORS.rows(connection, where, (encoder, *part))
                ]
        found.sort()
        vectors = np.empty((len(found), dim), np.float32)
        for row, (place, vector) in enumerate(found):
            if len(vector) != dim * _DTYPE.itemsize:
                raise ReviewError(f"The vector of item {ids[place]} has another length than those of the encoder.")
            vectors[row] = np.frombuffer(vector, _DTYPE)
        return vectors, np.array([place for place, _ in found], np.int64)

    def delete(self, numbers: Sequence[int]) -> set[str]:
        """Delete runs with everything that is stored of them; the examples that they taught stay in the index.

        Returns the hashes of the uploaded contents that no other run has.
        """
        with self._database.writing() as connection:
            former = uploaded_hashes(connection)
            for number in numbers:
                delete_rows(connection, number)
            gone = former - uploaded_hashes(connection)
        if numbers:
            self._database.shrink()
        return gone

    def started_before(self, time: datetime) -> list[int]:
        """Return the numbers of the runs that started before a time."""
        limit = time.astimezone(UTC).isoformat(timespec="seconds")
        with self._database.reading() as connection:
            return [row[0] for row in RUNS.rows(connection) if row[2] < limit]

    def uploaded_hashes(self) -> set[str]:
        """Return the content hashes of all items that were uploaded."""
        with self._database.reading() as connection:
            return uploaded_hashes(connection)


def now() -> str:
    """Return the time as it is stored: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def mark_changed(connection: sqlite3.Connection, run: int, items: Iterable[int]) -> None:
    """Let items come again in the stream of their run."""
    connection.executemany("INSERT OR REPLACE INTO changes (run, item) VALUES (?, ?)", [(run, item) for item in items])


def decisions_of(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, ItemDecision]:
    """Return what people decided about items, by their ids; those that nobody touched are missing."""
    return {
        item: ItemDecision(kind, text_of(label), bool(apart), answer)
        for part in _parts(ids)
        for item, kind, label, apart, answer in DECISIONS.rows(connection, f"WHERE item IN ({_marks(part)})", part)
    }


def _run(row: tuple[Any, ...], connection: sqlite3.Connection) -> Run:
    number, source, created, state, total = row
    counts: dict[str, int] = dict.fromkeys(("open", "decided", "confident", "unreadable"), 0)
    statement = (
        "SELECT reason, coalesce(kind, ''), count(*) FROM items JOIN results ON results.item = items.id "
        "LEFT JOIN decisions ON decisions.item = items.id WHERE run = ? GROUP BY 1, 2"
    )
    for reason, kind, count in connection.execute(statement, (number,)):
        by_itself = "confident" if reason in DECIDE_THEMSELVES else "unreadable" if reason == UNREADABLE else "open"
        counts["decided" if kind else by_itself] += count
    return Run(number, from_bytes(source), created, state, None if total < 0 else total, sum(counts.values()), **counts)


def _put_result(connection: sqlite3.Connection, run: int, result: Revoted) -> None:
    reason, label = str(result.result["reason"]), encoded(str(result.result["label"]))
    RESULTS.put(connection, (result.item, result.index_version, reason, label, as_bytes(result.result)))
    mark_changed(connection, run, [result.item])


def _items(connection: sqlite3.Connection, ids: Sequence[int]) -> Iterator[Item]:
    for part in _parts(ids):
        chosen = f"IN ({_marks(part)})"
        own = {row[0]: row[1:] for row in ITEMS.rows(connection, f"WHERE id {chosen}", part)}
        results = {row[0]: row[1:] for row in RESULTS.rows(connection, f"WHERE item {chosen}", part)}
        numbers = connection.execute(f"SELECT item, number FROM changes WHERE item {chosen}", part)
        changes, decisions = dict(numbers.fetchall()), decisions_of(connection, part)
        for item in part:
            if item in own:
                if item not in results or item not in changes:
                    raise RESULTS.damaged
                run, name, content_hash = own[item]
                version, _, _, result = results[item]
                decision = decisions.get(item, OPEN)
                hexadecimal = content_hash.decode("ascii")
                values = from_bytes(result)
                yield Item(item, run, text_of(name), hexadecimal, values, version, decision, changes[item])


def _parts(ids: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield [int(item) for item in ids[start : start + _AT_ONCE]]


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" for _ in values)
