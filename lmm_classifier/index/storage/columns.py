"""Columns of the table of examples over the bytes of a file: a value is made when it is asked for.

Opening a large index makes none of them. Who walks over a whole column makes them all at once, and they are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.protocols import IntArray
from lmm_classifier.index.storage.database import decoded, encoded

T = TypeVar("T")
SHA256 = 32  # bytes
_LENGTH = np.dtype("<u4")


class Column(Sequence[T]):
    """Values of which each can be made alone, or all at once, which is faster for many."""

    def __init__(self, count: int, one: Callable[[int], T], every: Callable[[], list[T]]) -> None:
        self._count, self._one, self._every = count, one, every
        self._made: list[T] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if self._made is not None:
            return self._made[place]
        if isinstance(place, slice):
            return [self._one(row) for row in range(*place.indices(self._count))]
        row = place + self._count if place < 0 else place
        if not 0 <= row < self._count:
            raise IndexError(f"row {place} of {self._count}")
        return self._one(row)

    def __iter__(self) -> Iterator[T]:
        if self._made is None:
            self._made = self._every()
        return iter(self._made)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment] # as a list


class Labels(Column[str]):
    """The label of each example as a number, and the names of these numbers."""

    def __init__(self, names: Sequence[str], ids: IntArray) -> None:
        self.names = names  # ascending, each of them of some example
        self.ids = ids  # (N,)
        super().__init__(len(ids), lambda row: names[ids[row]], lambda: [names[number] for number in ids.tolist()])

    @classmethod
    def of(cls, labels: Sequence[str]) -> Labels:
        """Number these labels; those that are numbered stay as they are."""
        if isinstance(labels, Labels):
            return labels
        names = sorted(set(labels))
        numbers = {name: number for number, name in enumerate(names)}
        return cls(names, np.array([numbers[label] for label in labels], np.int64))


def packed(texts: Sequence[str]) -> bytes:
    """Texts of any kind as their lengths in bytes, then their bytes."""
    parts = [encoded(text) for text in texts]
    return b"".join((np.array([len(part) for part in parts], _LENGTH).tobytes(), *parts))


def unpacked(data: memoryview, count: int, source: str) -> Column[str]:
    """Undo `packed`; raises ValueError where the lengths are not those of the bytes."""
    lengths = np.frombuffer(data, _LENGTH, count)
    body = data[lengths.nbytes :]
    ends = np.cumsum(lengths, dtype=np.int64)  # (N,)
    if (ends[-1] if count else 0) != len(body):
        raise ValueError(f"{len(body)} bytes of text, expected {ends[-1:]}")

    def one(row: int) -> str:
        end = int(ends[row])
        return decoded(bytes(body[end - int(lengths[row]) : end]), source)

    def every() -> list[str]:
        whole, stops = bytes(body), ends.tolist()
        bounds = zip([0, *stops], stops)
        if whole.isascii():
            text = whole.decode("ascii")
            return [text[start:stop] for start, stop in bounds]
        return [decoded(whole[start:stop], source) for start, stop in bounds]

    return Column(count, one, every)


def packed_hashes(hashes: Sequence[str]) -> bytes | None:
    """SHA-256 digests in lower-case hexadecimal as 32 bytes each; None where they are something else."""
    if any(len(one) != 2 * SHA256 for one in hashes):
        return None
    try:
        found = bytes.fromhex(joined := "".join(hashes))
    except ValueError:
        return None
    return found if found.hex() == joined else None


def unpacked_hashes(data: memoryview, count: int) -> Column[str]:
    """Undo `packed_hashes`; raises ValueError where the bytes are not those of `count` digests."""
    if len(data) != SHA256 * count:
        raise ValueError(f"{len(data)} bytes of {count} digests")

    def one(row: int) -> str:
        return data[SHA256 * row : SHA256 * (row + 1)].hex()

    def every() -> list[str]:
        text = data.hex()
        return [text[start : start + 2 * SHA256] for start in range(0, len(text), 2 * SHA256)]

    return Column(count, one, every)


def unpacked_ids(data: memoryview, count: int, names: int) -> NDArray[np.int64]:
    """Numbers (N,) of labels, kept in 32 bits; raises ValueError where one has no name."""
    ids = np.frombuffer(data, "<i4", count).astype(np.int64)
    if count and not 0 <= ids.min() <= ids.max() < names:
        raise ValueError(f"numbers of labels that are not below {names}")
    return ids
