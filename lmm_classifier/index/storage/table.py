"""The table of examples as bytes: a line with a checksum of all that follows, a header in JSON, and the columns.

Reading it decodes and copies nothing for each example: see `columns`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmm_classifier.index.storage.columns import (
    Labels,
    pack_hashes,
    pack_texts,
    unpack_hashes,
    unpack_label_ids,
    unpack_texts,
)

_MAGIC = b"lmm-classifier table 3 "
_FIRST = len(_MAGIC) + 9  # bytes of the first line


@dataclass(frozen=True)
class Table:
    """Label, id and content hash of each example, in the order of the rows."""

    labels: Sequence[str]
    paths: Sequence[str]
    hashes: Sequence[str]


def _first_line(body: bytes | memoryview) -> bytes:
    return b"%s%08x\n" % (_MAGIC, zlib.crc32(body))


def to_bytes(table: Table, about: Mapping[str, Any]) -> bytes:
    """Return the table, with JSON values `about` it, as bytes."""
    labels = Labels.of(table.labels)
    digests = pack_hashes(table.hashes)
    columns = [labels.ids.astype("<i4").tobytes(), pack_texts(table.paths)]
    columns.append(pack_texts(table.hashes) if digests is None else digests)
    header = {
        "about": dict(about),
        "count": len(table.paths),
        "labels": list(labels.names),
        "hashes": "text" if digests is None else "sha256",
        "columns": [len(column) for column in columns],
    }
    body = b"".join((json.dumps(header).encode("ascii"), b"\n", *columns))
    return _first_line(body) + body


def from_bytes(data: bytes, source: str) -> tuple[Table, dict[str, Any]]:
    """Undo `to_bytes`; raise ValueError, KeyError or TypeError for anything else."""
    if not data.startswith(_MAGIC):
        raise ValueError("it has another format")
    view = memoryview(data)
    if data[:_FIRST] != _first_line(view[_FIRST:]):
        raise ValueError("its checksum is wrong")
    start = data.index(b"\n", _FIRST) + 1
    header: dict[str, Any] = json.loads(data[_FIRST:start])
    count, names = header["count"], header["labels"]
    ends = [start := start + length for length in header["columns"]]
    if ends[-1] != len(data):
        raise ValueError(f"it has {len(data):,} bytes, not {ends[-1]:,}")
    ids, paths, hashes = (view[end - length : end] for end, length in zip(ends, header["columns"], strict=True))
    table = Table(
        Labels(names, unpack_label_ids(ids, count, len(names))),
        unpack_texts(paths, count, source),
        unpack_hashes(hashes, count) if header["hashes"] == "sha256" else unpack_texts(hashes, count, source),
    )
    return table, header["about"]
