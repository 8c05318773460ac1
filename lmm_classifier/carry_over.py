"""What was measured on the examples of another day: which of them are still there, and which have come since."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.gallery import Gallery
from lmm_classifier.index.contents import Contents
from lmm_classifier.novelty import NEIGHBOURS, by_label, is_large
from lmm_classifier.protocols import IntArray

Digests = NDArray[np.uint64]
_BLOCK = 256
_MOST_AT_ONCE = 1 << 24  # similarities held at a time: 67 MB


def example_digests(contents: Contents) -> Digests:
    """A number for each example (N,): of its content and its label, whatever its name and place."""
    texts = (f"{content}\0{label}" for content, label in zip(contents.hashes, contents.labels))
    digests = b"".join(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, np.uint64)


def vectors_digest(contents: Contents) -> str:
    """What the vectors that are searched depend on, apart from the examples: the encoder, and the space."""
    crc = 0
    for name in sorted(contents.space_state):
        crc = crc32(np.ascontiguousarray(contents.space_state[name]).tobytes(), crc32(name.encode(), crc))
    fingerprint = contents.manifest.fingerprint
    return f"{fingerprint.space_id} {contents.manifest.space} {crc:08x}"


@dataclass(frozen=True)
class Since:
    """What became of the examples `then` among those `now`.

    `rows` (N,) says for each example now which it was then, -1 for one that has come since.
    """

    rows: IntArray
    came: int
    gone: int

    @classmethod
    def of(cls, then: Digests, now: Digests) -> Since:
        """Compare; the same example twice is two."""
        order = np.argsort(then, kind="stable")
        place = np.searchsorted(then, now, sorter=order).clip(max=max(len(then) - 1, 0))
        rows = order[place] if len(then) else np.zeros(len(now), np.int64)
        rows = np.where(then[rows] == now, rows, -1) if len(then) else rows - 1
        values, count_then = np.unique(then, return_counts=True)
        values_now, count_now = np.unique(now, return_counts=True)
        every = np.union1d(values, values_now)
        more = np.zeros(len(every), np.int64)
        more[np.searchsorted(every, values_now)] += count_now
        more[np.searchsorted(every, values)] -= count_then
        return cls(rows, int(more[more > 0].sum()), int(-more[more < 0].sum()))

    @property
    def changed(self) -> bool:
        """Whether the examples are others than then."""
        return bool(self.came or self.gone)

    def is_much(self, count: int) -> bool:
        """Whether more than a quarter of `count` examples changed: too many for what was measured to mean anything."""
        return max(self.came, self.gone) > count / 4


def with_crowding(crowding: NDArray[np.float64], gallery: Gallery) -> NDArray[np.float64]:
    """Fill in what is NaN: 1 - mean similarity of an example to its nearest others, see `novelty.Density`."""
    missing, count = np.flatnonzero(np.isnan(crowding)), len(crowding)
    if not len(missing):
        return crowding
    if is_large(count):
        return np.where(np.isnan(crowding), by_label(crowding, gallery), crowding)
    filled, k = crowding.copy(), min(NEIGHBOURS, count - 1)
    size = max(min(_BLOCK, _MOST_AT_ONCE // count), 1)
    for start in range(0, len(missing), size):
        part = missing[start : start + size]
        near = gallery.units[part] @ gallery.units.T  # (b, N)
        near[np.arange(len(part)), part] = -np.inf
        near.partition(max(count - k, 0), axis=1)
        filled[part] = 1 - (near[:, count - k :].mean(axis=1) if k else 0)
    return filled
