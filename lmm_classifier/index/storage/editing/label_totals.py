"""For each label the number of its examples and a digest of their contents, updated by each edit.

So the labels of an index, and whether its calibration is stale, are known without reading all examples.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage.database import checksum, decoded, encoded
from lmm_classifier.index.storage.records import Record, content_digest
from lmm_classifier.index.storage.schema import LABELS

_WHOLE = 2**64
Totals = dict[str, tuple[int, int]]  # label -> number of examples, and the sum of their `content_digest`


def group_digest(count: int, contents: int) -> int:
    """Return a digest in 64 bits of the examples of one label, whatever its name is."""
    text = f"{count} {contents % _WHOLE}".encode("ascii")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") if count else 0


def totals_of(records: Iterable[Record], sign: int = 1) -> Totals:
    """Return the totals of these examples."""
    totals: Totals = defaultdict(lambda: (0, 0))
    for record in records:
        count, contents = totals[record.label]
        totals[record.label] = count + sign, (contents + sign * content_digest(record.content_hash)) % _WHOLE
    return totals


def groups_digest(totals: Totals) -> int:
    """Return a digest of the groups that the labels make of the examples, whatever their names are."""
    return sum(group_digest(*total) for total in totals.values()) % _WHOLE


def read_label_totals(connection: sqlite3.Connection, source: str) -> Totals:
    """Return the totals of all labels; raise IndexFileError where a row is damaged."""
    return dict(_total(row, source) for row in connection.execute(LABELS.select))


def update_label_totals(
    connection: sqlite3.Connection, source: str, former: Iterable[Record], current: Iterable[Record]
) -> int:
    """Put `current` examples in the place of `former` ones; return the change of `groups_digest`."""
    less, more = totals_of(former, -1), totals_of(current)
    change = 0
    for label in {*less, *more}:
        row = connection.execute(f"{LABELS.select} WHERE label = ?", (encoded(label),)).fetchone()
        before = (0, 0) if row is None else _total(row, source)[1]
        count = before[0] + sum(part[label][0] for part in (less, more) if label in part)
        contents = (before[1] + sum(part[label][1] for part in (less, more) if label in part)) % _WHOLE
        if count > 0:
            put_label_totals(connection, {label: (count, contents)})
        else:
            connection.execute("DELETE FROM labels WHERE label = ?", (encoded(label),))
        change += group_digest(count, contents) - group_digest(*before)
    return change


def put_label_totals(connection: sqlite3.Connection, totals: Totals) -> None:
    """Write totals in the place of those of the same labels."""
    rows = [(encoded(label), count, str(contents)) for label, (count, contents) in totals.items()]
    connection.executemany(LABELS.replace, [(*row, checksum(*row)) for row in rows])


def _total(stored: tuple[object, ...], source: str) -> tuple[str, tuple[int, int]]:
    *row, crc = stored
    if checksum(*row) != crc:
        raise IndexFileError(f"{source}: the row of a label is damaged. `lmm-classifier doctor` can repair the index.")
    label, count, contents = row
    return decoded(label, source), (int(str(count)), int(str(contents)))
