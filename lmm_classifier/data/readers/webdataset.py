"""Read tar shards as the webdataset format has them: members of a sample share all but the ending of their name.

`000012.jpg` and `000012.cls` are one sample, an image and its label. The label comes from `.cls` or `.txt`, or from a
field of `.json`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.image_types import EXTENSIONS, extension
from lmm_classifier.data.places import Place
from lmm_classifier.data.readers.archive import ArchiveRoot, Member
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.listing import Listing, Row, Value

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_LABELS = ("cls", "txt")
_JSON = "json"
_MOST_TEXT = 1 << 20  # bytes of a label or of the fields of a sample
_MOST_SHARDS = 100_000


def shard_names(pattern: str) -> list[str]:
    """Return the names that a pattern such as `train-{000..010}.tar` stands for; a name without braces is one.

    Raises:
        DatasetError: the numbers are not ascending, or too many.
    """
    braces = _BRACES.search(pattern)
    if braces is None:
        return [pattern]
    first, last = int(braces[1]), int(braces[2])
    if not first <= last < first + _MOST_SHARDS:
        raise DatasetError(f"{pattern}: expected at most {_MOST_SHARDS} shards, from a lower to a higher number.")
    width = len(braces[1])
    names = (f"{pattern[: braces.start()]}{n:0{width}}{pattern[braces.end() :]}" for n in range(first, last + 1))
    return [name for pattern in names for name in shard_names(pattern)]


@dataclass
class Shards:
    """Several archives as one root: the first part of an id is the name of the shard."""

    archives: Mapping[str, ArchiveRoot]

    def __truediv__(self, path: str, /) -> Place:
        shard, _, member = path.partition("/")
        if shard not in self.archives:
            shard = next(iter(self.archives))  # it has no such member, and its place says so
            member = path
        return self.archives[shard] / member


def is_webdataset(members: Mapping[str, Member]) -> bool:
    """Return whether most images of a shard have a member with their label or fields next to them."""
    stems = {name.rpartition("/")[0] + "/" + _stem(name) for name in members if _ending(name) in (*_LABELS, _JSON)}
    images = [name for name in members if extension(name) in EXTENSIONS]
    return bool(stems) and sum(n.rpartition("/")[0] + "/" + _stem(n) in stems for n in images) * 2 > len(images)


def list_shards(shards: Mapping[str, ArchiveRoot], root: Shards | ArchiveRoot, spec: DatasetSpec) -> Listing:
    """List the samples of shards; ids begin with the name of the shard where `root` has several."""
    listing = Listing(root, labels="the members of its sample")
    for name, archive in shards.items():
        prefix = f"{name}/" if isinstance(root, Shards) else ""
        table = archive.table()
        for row in table.refused:
            listing.skipped.append(Skipped(f"{prefix}{row.path}", *(row.problem or ("", "ignored"))))
        samples: dict[str, dict[str, str]] = {}
        for member in table.members:
            folder = member.rpartition("/")[0]
            samples.setdefault(f"{folder}/{_stem(member)}", {})[_ending(member)] = member
        for parts in samples.values():
            listing.rows += _rows(archive, parts, prefix, spec)
    return listing


def _rows(archive: ArchiveRoot, parts: Mapping[str, str], prefix: str, spec: DatasetSpec) -> list[Row]:
    images = [member for ending, member in parts.items() if ending.rpartition(".")[2] in EXTENSIONS]
    if not images:
        return []
    fields: dict[str, Any] | None = None

    def value(choice: str | None, usual: Sequence[str]) -> Value:
        nonlocal fields
        for ending in [choice] if choice is not None else usual:
            if ending in parts:
                return _text(archive, parts[ending])
        if _JSON not in parts or (choice is None and not usual):
            return None
        if fields is None:
            fields = _fields(archive, parts[_JSON])
        return next((fields[name] for name in ([choice] if choice else _FIELDS[usual[0]]) if name in fields), None)

    values = value(spec.label_from, _LABELS), value(spec.group_from, ("group",)), value(spec.split_from, ("split",))
    return [Row(f"{prefix}{member}", *values) for member in images]


_FIELDS = {"cls": ("label", "cls", "class", "category"), "group": ("group",), "split": ("split",)}


def _text(archive: ArchiveRoot, member: str) -> str | None:
    data = _small(archive, member)
    try:
        return None if data is None else data.decode("utf-8-sig").strip()
    except UnicodeError:
        return None


def _fields(archive: ArchiveRoot, member: str) -> dict[str, Any]:
    try:
        fields = json.loads(_small(archive, member) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _small(archive: ArchiveRoot, member: str) -> bytes | None:
    """Return the bytes of a member, None where they are too many for a text."""
    return (archive / member).read_bytes() if archive.member(member).size <= _MOST_TEXT else None


def _stem(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]


def _ending(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()
