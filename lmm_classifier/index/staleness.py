"""Staleness: which examples changed since the calibration or the transform was fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import IntArray
from lmm_classifier.index.contents import IndexContents

Digests = NDArray[np.uint64]


def example_digests(contents: IndexContents) -> Digests:
    """Return a digest of each example (N,): of its content and its label, independent of its id and its row."""
    texts = (f"{content_hash}\0{label}" for content_hash, label in zip(contents.hashes, contents.labels))
    digests = b"".join(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, np.uint64)


def vectors_digest(contents: IndexContents) -> str:
    """Return a digest of the encoder and the transform, on which the searched vectors depend besides the images."""
    crc = 0
    for name in sorted(contents.transform_arrays):
        crc = crc32(np.ascontiguousarray(contents.transform_arrays[name]).tobytes(), crc32(name.encode(), crc))
    fingerprint = contents.manifest.fingerprint
    return f"{fingerprint.space_id} {contents.manifest.transform} {crc:08x}"


@dataclass(frozen=True)
class ChangesSince:
    """Changes between the former and the current examples of an index."""

    rows: IntArray  # (N,) former row of each current example, -1 for an added one
    added: int  # a changed example counts as removed and added
    removed: int

    @classmethod
    def of(cls, former: Digests, current: Digests) -> ChangesSince:
        """Compare digests as multisets: an example that is there twice counts as two."""
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
        return cls(rows, int(surplus[surplus > 0].sum()), int(-surplus[surplus < 0].sum()))

    @property
    def changed(self) -> bool:
        """Return whether the examples differ."""
        return bool(self.added or self.removed)

    def is_too_many(self, count: int) -> bool:
        """Return whether more than a quarter of `count` examples changed, so that former measurements do not hold."""
        return max(self.added, self.removed) > count / 4


def is_stale(contents: IndexContents) -> bool:
    """Return whether there is a calibration that was made on other examples or other vectors than the current ones."""
    state = contents.calibration
    if state is None or "examples" not in state or "vectors" not in state:
        return False
    changes = ChangesSince.of(np.asarray(state["examples"], np.uint64), example_digests(contents))
    return changes.changed or str(state["vectors"][0]) != vectors_digest(contents)


def stale_parts(contents: IndexContents) -> tuple[str, ...]:
    """Name the parts of an index that were fitted to other examples, and say how to fit them again."""
    return tuple(_stale_parts(contents))


def _stale_parts(contents: IndexContents) -> Iterator[str]:
    if not contents.transform_is_current:
        yield (
            "transform: run `lmm-classifier sync` or `lmm-classifier calibrate` to fit it to the current images; "
            "a few changed images do no harm"
        )
    if is_stale(contents):
        yield (
            "calibration: run `lmm-classifier calibrate` again; its guarantees do not cover the examples that changed"
        )


def describe_changes(changes: ChangesSince, contents: IndexContents) -> str:
    """Return in words how many examples changed; a changed example counts as added and as removed."""
    return (
        f"{changes.added} of {len(contents.hashes)} examples were added or changed and {changes.removed} were removed "
        "or changed"
    )
