"""Staleness: which examples changed since the calibration or the transform was fitted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Arrays, IntArray
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.storage.editing.label_totals import groups_digest

Digests = NDArray[np.uint64]
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads label numbers over all bits (Knuth, TAOCP 6.4)


@dataclass(frozen=True)
class ExampleDigests:
    """Digests of the N examples of an index: of their contents, and their labels by number.

    Ids and rows do not count, and the names of the labels are kept apart, so that a renamed label changes nothing.
    """

    contents: Digests  # (N,)
    label_ids: IntArray  # (N,) numbers of `labels`
    labels: tuple[str, ...]  # ascending

    @classmethod
    def of(cls, contents: IndexContents) -> ExampleDigests:
        """Digest the examples of an index."""
        digests = b"".join(blake2b(text.encode(), digest_size=8).digest() for text in contents.hashes)
        labels, label_ids = np.unique(np.array(contents.labels, dtype=np.str_), return_inverse=True)
        return cls(np.frombuffer(digests, np.uint64), label_ids.astype(np.int64), tuple(map(str, labels)))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that rebuild it."""
        return {
            "examples": self.contents,
            "label_ids": self.label_ids,
            "labels": np.array(self.labels, dtype=np.str_),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> ExampleDigests:
        """Rebuild it; raise KeyError where an array is missing, ValueError where one is impossible."""
        digests, label_ids = np.asarray(arrays["examples"], np.uint64), np.asarray(arrays["label_ids"], np.int64)
        labels = tuple(map(str, arrays["labels"]))
        if digests.ndim != 1 or digests.shape != label_ids.shape:
            raise ValueError(f"{digests.shape} digests of examples, but {label_ids.shape} labels")
        if len(label_ids) and not 0 <= label_ids.min() <= label_ids.max() < len(labels):
            raise ValueError(f"a label number is outside of 0 to {len(labels) - 1}")
        return cls(digests, label_ids, labels)

    def labeled(self, label_ids: IntArray) -> Digests:
        """Return digests of the examples and these label numbers together, (N,)."""
        return np.asarray(self.contents ^ ((label_ids + 1).astype(np.uint64) * _MIX), np.uint64)


def vectors_digest(contents: IndexContents) -> str:
    """Return a digest of the encoders and the transforms, on which searched vectors depend besides the images."""
    entries = contents.manifest.encoders
    return transforms_digest(
        (entry.fingerprint.space_id, entry.transform, vectors.transform_arrays)
        for entry, vectors in zip(entries, contents.vectors, strict=True)
    )


def transforms_digest(transforms: Iterable[tuple[str, str, Arrays]]) -> str:
    """Return the same for the `space_id` of each encoder with the name and the arrays of its transform."""
    digests = []
    for space, transform, arrays in transforms:
        crc = 0
        for name in sorted(arrays):
            crc = crc32(np.atleast_1d(np.ascontiguousarray(arrays[name])).tobytes(), crc32(name.encode(), crc))
        digests.append(f"{space} {transform} {crc:08x}")
    return ", ".join(digests)


@dataclass(frozen=True)
class FittedTo:
    """A few numbers that tell whether two calibrations, or a calibration and an index, are of the same examples.

    They do not depend on the names of the labels. An index has them at hand, so that an edit need not read it whole.
    """

    contents: int  # sum of the digests of all contents, modulo 2^64
    groups: int  # digest of the groups that the labels make of them
    vectors: str  # `vectors_digest`

    @classmethod
    def of(cls, calibration: Arrays) -> Self | None:
        """Return what a calibration was fitted to; None if it does not say."""
        if "vectors" not in calibration:
            return None
        try:
            examples = ExampleDigests.from_arrays(calibration)
            vectors = str(calibration["vectors"][0])
        except (KeyError, ValueError):
            return cls(-1, -1, "")  # equal to no index
        counts = np.bincount(examples.label_ids, minlength=len(examples.labels))
        sums = np.zeros(len(examples.labels), np.uint64)
        np.add.at(sums, examples.label_ids, examples.contents)
        totals = {str(label): (int(count), int(total)) for label, (count, total) in enumerate(zip(counts, sums))}
        return cls(int(examples.contents.sum(dtype=np.uint64)), groups_digest(totals), vectors)

    def to_json(self) -> bytes:
        """Return one JSON object."""
        return json.dumps(asdict(self)).encode("ascii")


@dataclass(frozen=True)
class ChangesSince:
    """Changes between the former and the current examples of an index."""

    rows: IntArray  # (N,) former row of each current example, -1 for an added one
    added: int  # a changed example counts as removed and added
    removed: int
    renamed: Mapping[str, str] = field(default_factory=dict)  # former name of a label -> current name
    new_labels: tuple[str, ...] = ()
    in_new_labels: int = 0  # examples among the added ones

    @classmethod
    def of(cls, former: ExampleDigests, current: ExampleDigests) -> ChangesSince:
        """Compare the examples as multisets: one that is there twice counts as two.

        A label whose examples all have another name now was renamed, which changes no example.
        """
        former_of = _former_labels(former, current)
        numbers = np.array([former_of.get(label, len(former.labels) + label) for label in range(len(current.labels))])
        digests = current.labeled(numbers[current.label_ids] if len(current.label_ids) else current.label_ids)
        rows, added, removed = _compare(former.labeled(former.label_ids), digests)
        names = {former.labels[before]: current.labels[now] for now, before in former_of.items()}
        renamed = {before: now for before, now in names.items() if before != now}
        new = set(current.labels) - set(former.labels) - set(renamed.values())
        in_new = int(np.isin(np.array(current.labels)[current.label_ids], sorted(new)).sum()) if new else 0
        return cls(rows, added, removed, renamed, tuple(sorted(new)), in_new)

    @property
    def changed(self) -> bool:
        """Return whether the examples differ."""
        return bool(self.added or self.removed)

    def is_too_many(self, count: int) -> bool:
        """Return whether so many of `count` examples changed that former measurements do not hold.

        That is more than a quarter of those of the former labels, or new labels with more examples than these have.
        """
        former = count - self.in_new_labels
        return max(self.added - self.in_new_labels, self.removed) > former / 4 or self.in_new_labels > former


def _compare(former: Digests, current: Digests) -> tuple[IntArray, int, int]:
    """Return the former row of each current digest, -1 for new ones, and how many were added and removed."""
    order = np.argsort(former, kind="stable")
    places = np.searchsorted(former, current, sorter=order).clip(max=max(len(former) - 1, 0))
    rows = order[places] if len(former) else np.zeros(len(current), np.int64)
    rows = np.where(former[rows] == current, rows, -1) if len(former) else rows - 1
    former_values, former_counts = np.unique(former, return_counts=True)
    current_values, current_counts = np.unique(current, return_counts=True)
    all_values = np.union1d(former_values, current_values)
    surplus = np.zeros(len(all_values), np.int64)
    surplus[np.searchsorted(all_values, current_values)] += current_counts
    surplus[np.searchsorted(all_values, former_values)] -= former_counts
    return rows, int(surplus[surplus > 0].sum()), int(-surplus[surplus < 0].sum())


def _former_labels(former: ExampleDigests, current: ExampleDigests) -> dict[int, int]:
    """Return the former number of each current label, where it is the same label.

    A label that keeps its name and at least one example is the same. Another one is the same, under a new name, where
    most of its former examples and most of its current ones agree.
    """
    rows, _, _ = _compare(former.contents, current.contents)
    kept = rows >= 0
    pairs = np.stack([former.label_ids[rows[kept]], current.label_ids[kept]], axis=1)
    found, counts = np.unique(pairs, axis=0, return_counts=True)
    of_former = np.bincount(pairs[:, 0], minlength=len(former.labels))
    of_current = np.bincount(pairs[:, 1], minlength=len(current.labels))
    same = _labels_of_the_same_name(former, current)
    taken = set(same.values())
    for (before, now), count in zip(found, counts):
        if now not in same and before not in taken and 2 * count > max(of_former[before], of_current[now]):
            same[int(now)] = int(before)
    return same


def _labels_of_the_same_name(former: ExampleDigests, current: ExampleDigests) -> dict[int, int]:
    """Return the former number of each current label that keeps its name and at least one example.

    Another label may hold the same contents.
    """
    number_of = {name: number for number, name in enumerate(former.labels)}
    numbers = np.array([number_of.get(name, len(former.labels)) for name in current.labels], np.int64)
    is_kept = np.isin(current.labeled(numbers[current.label_ids]), former.labeled(former.label_ids))
    return {int(label): int(numbers[label]) for label in np.unique(current.label_ids[is_kept])}


def is_stale(contents: IndexContents) -> bool:
    """Return whether there is a calibration that was made on other examples or other vectors than the current ones."""
    state = contents.calibration
    if state is None or "vectors" not in state:
        return False
    try:
        changes = ChangesSince.of(ExampleDigests.from_arrays(state), ExampleDigests.of(contents))
    except (KeyError, ValueError):
        return True
    return changes.changed or _has_other_vectors(contents)


def _has_other_vectors(contents: IndexContents) -> bool:
    """Return whether the calibration was made on vectors of other encoders or transforms, so that it is not used."""
    return str((contents.calibration or {})["vectors"][0]) != vectors_digest(contents)


def stale_parts(contents: IndexContents) -> tuple[str, ...]:
    """Name the parts of an index that were fitted to other examples, and say how to fit them again."""
    stale = is_stale(contents)
    return named_stale(not contents.transforms_are_current, stale, stale and _has_other_vectors(contents))


def named_stale(transforms: bool, calibration: bool, other_vectors: bool) -> tuple[str, ...]:
    """Name the parts that are stale, and say how to fit them again."""
    return tuple(_stale_parts(transforms, calibration, other_vectors))


def _stale_parts(transforms: bool, calibration: bool, other_vectors: bool) -> Iterator[str]:
    if transforms:
        yield (
            "transform: run `lmm-classifier calibrate` to fit it to the current images; a few changed images do no harm"
        )
    if calibration:
        yield (
            "calibration: run `lmm-classifier calibrate` to repeat it as it was asked for; "
            + (
                "it is not used, because the encoders or a transform changed"
                if other_vectors
                else "its guarantees do not cover the examples that changed"
            )
        )


def describe_changes(changes: ChangesSince, contents: IndexContents) -> str:
    """Return in words how many examples changed; a changed example counts as added and as removed."""
    return (
        f"{changes.added} of {len(contents.hashes)} examples were added or changed and {changes.removed} were removed "
        "or changed"
    )
