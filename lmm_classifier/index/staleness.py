"""What was measured on the examples of another day: which of them are still there, and which have come since."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.protocols import IntArray
from lmm_classifier.index.contents import Contents

Digests = NDArray[np.uint64]


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


def is_stale(contents: Contents) -> bool:
    """Whether there is a calibration, and it is of other examples or other vectors than those there now."""
    state = contents.calibration
    if state is None or "examples" not in state or "vectors" not in state:
        return False
    since = Since.of(np.asarray(state["examples"], np.uint64), example_digests(contents))
    return since.changed or str(state["vectors"][0]) != vectors_digest(contents)


def stale_parts(contents: Contents) -> tuple[str, ...]:
    """What in an index was fitted to other examples than are in it now, and how to fit it again."""
    said = []
    if not contents.space_is_current:
        said.append(
            "the space was fitted to other pictures, which is good enough for a few; `lmm-classifier sync` or "
            "`calibrate` fits it anew"
        )
    if is_stale(contents):
        said.append("the calibration is of other examples: its promises are not of these; `lmm-classifier calibrate`")
    return tuple(said)


def describe_changes(since: Since, contents: Contents) -> str:
    """How many examples were added and removed, in words."""
    return f"{since.came} of {len(contents.hashes)} examples came or changed and {since.gone} went or changed since"
