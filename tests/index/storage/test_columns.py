"""Columns give the texts that were packed, one by one and all at once, and notice bytes that cannot be theirs."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage.columns import (
    Column,
    Labels,
    packed,
    packed_hashes,
    unpacked,
    unpacked_hashes,
    unpacked_ids,
)

TEXTS = ["a/1.jpg", "", "caf\udce9.png", "\N{SNOWMAN}", "line\nbreak", "\ud800 alone"]


def numbers(count: int) -> Column[int]:
    return Column(count, lambda row: 10 * row, lambda: [10 * row for row in range(count)])


@pytest.mark.parametrize("texts", [TEXTS, ["plain", "ascii", ""], []])
def test_texts_of_any_kind_survive(texts):
    """One by one before all are made, and all at once."""
    data = memoryview(packed(texts))
    column = unpacked(data, len(texts), "x")
    assert [column[row] for row in range(len(texts))] == texts
    assert list(column) == texts
    assert column == texts
    assert texts == column


@pytest.mark.parametrize("every", [False, True])
def test_a_column_is_a_sequence(every):
    """Negative places, slices, numbers of numpy and places outside: as a list has it."""
    column = numbers(5)
    if every:
        list(column)
    assert (column[-1], column[np.int64(2)], column[1:4], column[::-2]) == (40, 20, [10, 20, 30], [40, 20, 0])
    assert (column.index(30), 20 in column, 25 in column) == (3, True, False)
    assert column != [0, 10]
    for place in (5, -6):
        with pytest.raises(IndexError):
            column[place]


def test_all_are_made_once():
    """Who walks over a column twice makes its values once."""
    made = []
    column = Column(2, str, lambda: made.append(1) or ["a", "b"])
    assert [*column, *column, column[1]] == ["a", "b", "a", "b", "b"]
    assert len(made) == 1


def test_hashes():
    """SHA-256 takes 32 bytes; anything else, capital letters and blanks too, is no such digest."""
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(3)]
    column = unpacked_hashes(memoryview(packed_hashes(digests)), 3)
    assert [column[row] for row in range(3)] == digests
    assert list(column) == digests
    for other in ("hash1", digests[0].upper(), digests[0][:-2] + "  ", "g" * 64, "\udce9" * 64):
        assert packed_hashes([*digests, other]) is None
    with pytest.raises(ValueError, match="97 bytes"):
        unpacked_hashes(memoryview(bytes(97)), 3)


def test_labels():
    """Names ascend, each label has its number, and what is numbered is not numbered again."""
    labels = Labels.of(["b", "a", "b", "caf\udce9"])
    assert labels == ["b", "a", "b", "caf\udce9"]
    assert (labels.names, labels.ids.tolist(), labels[1]) == (["a", "b", "caf\udce9"], [1, 0, 1, 2], "a")
    assert Labels.of(labels) is labels
    np.testing.assert_array_equal(np.array(labels), np.array(["b", "a", "b", "caf\udce9"]))


def test_what_cannot_be():
    """Lengths that are not those of the bytes, numbers without a name, bytes that are no text."""
    with pytest.raises(ValueError, match="bytes of text"):
        unpacked(memoryview(packed(["abc", "d"])[:-1]), 2, "x")
    for ids in ([0, 2], [-1, 0]):
        with pytest.raises(ValueError, match="below 2"):
            unpacked_ids(memoryview(np.array(ids, "<i4").tobytes()), 2, 2)
    with pytest.raises(IndexFileError, match="damaged text"):
        unpacked(memoryview(b"\1\0\0\0\xff"), 1, "x")[0]
