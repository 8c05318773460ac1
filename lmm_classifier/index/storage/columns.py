"""Columns of the table of examples over the bytes of a file: a value is decoded when it is read.

Opening a large index decodes none of them. Iterating over a column decodes all values at once and stores them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, TypeVar, overload

import numpy as np

from lmm_classifier.core.arrays import IntArray
from lmm_classifier.index.storage.database import decoded, encoded

T = TypeVar("T")
SHA256 = 32  # bytes
_LENGTH = np.dtype("<u4")


class Column(Sequence[T]):
    """Values that can be decoded one by one, or all at once, which is faster for many."""

    def __init__(self, count: int, value_of: Callable[[int], T], all_values: Callable[[], list[T]]) -> None:
        self._count, self._value_of, self._all_values = count, value_of, all_values
        self._values: list[T] | None = None

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if self._values is not None:
            return self._values[place]
        if isinstance(place, slice):
            return [self._value_of(row) for row in range(*place.indices(self._count))]
        row = place + self._count if place < 0 else place
        if not 0 <= row < self._count:
            raise IndexError(f"row {place} of {self._count}")
        return self._value_of(row)

    def __iter__(self) -> Iterator[T]:
        if self._values is None:
            self._values = self._all_values()
        return iter(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__: ClassVar[None] = None  # type: ignore[assignment] # as a list


class Labels(Column[str]):
    """The label of each example as a number, and the names of these numbers."""

    def __init__(self, names: Sequence[str], ids: IntArray) -> None:
        self.names = names  # ascending; each is the label of at least one example
        self.ids = ids  # (N,)
        super().__init__(len(ids), lambda row: names[ids[row]], lambda: [names[number] for number in ids.tolist()])

    @classmethod
    def of(cls, labels: Sequence[str]) -> Labels:
        """Number these labels; numbered labels are returned as they are."""
        if isinstance(labels, Labels):
            return labels
        names = sorted(set(labels))
        numbers = {name: number for number, name in enumerate(names)}
        return cls(names, np.array([numbers[label] for label in labels], np.int64))


def pack_texts(texts: Sequence[str]) -> bytes:
    """Return the lengths of the texts in bytes, followed by their bytes."""
    parts = [encoded(text) for text in texts]
    return b"".join((np.array([len(part) for part in parts], _LENGTH).tobytes(), *parts))


def unpack_texts(data: memoryview, count: int, source: str) -> Column[str]:
    """Undo `pack_texts`; raise ValueError if the lengths do not match the bytes."""
    lengths = np.frombuffer(data, _LENGTH, count)
    body = data[lengths.nbytes :]
    ends = np.cumsum(lengths, dtype=np.int64)  # (N,)
    if (ends[-1] if count else 0) != len(body):
        raise ValueError(f"{len(body)} bytes of text, expected {ends[-1:]}")

    def value_of(row: int) -> str:
        end = int(ends[row])
        return decoded(bytes(body[end - int(lengths[row]) : end]), source)

    def all_values() -> list[str]:
        whole, stops = bytes(body), ends.tolist()
        bounds = zip([0, *stops], stops)
        if whole.isascii():
            text = whole.decode("ascii")
            return [text[start:stop] for start, stop in bounds]
        return [decoded(whole[start:stop], source) for start, stop in bounds]

    return Column(count, value_of, all_values)


def pack_hashes(hashes: Sequence[str]) -> bytes | None:
    """Return SHA-256 digests in lower-case hexadecimal as 32 bytes each; None for anything else."""
    if any(len(digest) != 2 * SHA256 for digest in hashes):
        return None
    try:
        data = bytes.fromhex(joined := "".join(hashes))
    except ValueError:
        return None
    return data if data.hex() == joined else None


def unpack_hashes(data: memoryview, count: int) -> Column[str]:
    """Undo `pack_hashes`; raise ValueError if there are not the bytes of `count` digests."""
    if len(data) != SHA256 * count:
        raise ValueError(f"{len(data)} bytes, expected {SHA256 * count} of {count} digests")

    def value_of(row: int) -> str:
        return data[SHA256 * row : SHA256 * (row + 1)].hex()

    def all_values() -> list[str]:
        text = data.hex()
        return [text[start : start + 2 * SHA256] for start in range(0, len(text), 2 * SHA256)]

    return Column(count, value_of, all_values)


def unpack_label_ids(data: memoryview, count: int, names: int) -> IntArray:
    """Return the label numbers (N,), stored in 32 bits; raise ValueError if a number has no name."""
    ids = np.frombuffer(data, "<i4", count).astype(np.int64)
    if count and not 0 <= ids.min() <= ids.max() < names:
        raise ValueError(f"label numbers that are not below {names}")
    return ids
