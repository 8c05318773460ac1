"""Columns return the packed texts, one by one and all at once, and reject wrong bytes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.storage.columns import (
    Column,
    Labels,
    pack_hashes,
    pack_texts,
    unpack_hashes,
    unpack_label_ids,
    unpack_texts,
)

TEXTS = ["a/1.jpg", "", "caf\udce9.png", "\N{SNOWMAN}", "line\nbreak", "\ud800 alone"]


def numbers(count: int) -> Column[int]:
    return Column(count, lambda row: 10 * row, lambda: [10 * row for row in range(count)])


@pytest.mark.parametrize("texts", [TEXTS, ["plain", "ascii", ""], []])
def test_a_round_trip_preserves_any_text(texts):
    """One by one, and all at once."""
    data = memoryview(pack_texts(texts))
    column = unpack_texts(data, len(texts), "x")
    assert [column[row] for row in range(len(texts))] == texts
    assert list(column) == texts
    assert column == texts
    assert texts == column


@pytest.mark.parametrize("every", [False, True])
def test_a_column_behaves_like_a_list(every):
    """With negative indices, slices, numpy integers and indices out of range."""
    column = numbers(5)
    if every:
        list(column)
    assert (column[-1], column[np.int64(2)], column[1:4], column[::-2]) == (40, 20, [10, 20, 30], [40, 20, 0])
    assert (column.index(30), 20 in column, 25 in column) == (3, True, False)
    assert column != [0, 10]
    for place in (5, -6):
        with pytest.raises(IndexError):
            column[place]


def test_iterating_twice_decodes_once():
    """Single values come from the decoded ones then."""
    calls = []
    column = Column(2, str, lambda: calls.append(1) or ["a", "b"])
    assert [*column, *column, column[1]] == ["a", "b", "a", "b", "b"]
    assert len(calls) == 1


def test_only_sha256_digests_are_packed_as_bytes():
    """Upper case and spaces make another text."""
    digests = [hashlib.sha256(bytes([number])).hexdigest() for number in range(3)]
    column = unpack_hashes(memoryview(pack_hashes(digests)), 3)
    assert [column[row] for row in range(3)] == digests
    assert list(column) == digests
    for text in ("hash1", digests[0].upper(), digests[0][:-2] + "  ", "g" * 64, "\udce9" * 64):
        assert pack_hashes([*digests, text]) is None
    with pytest.raises(ValueError, match="97 bytes"):
        unpack_hashes(memoryview(bytes(97)), 3)


def test_labels_are_numbered_once():
    """The names are sorted."""
    labels = Labels.of(["b", "a", "b", "caf\udce9"])
    assert labels == ["b", "a", "b", "caf\udce9"]
    assert (labels.names, labels.ids.tolist(), labels[1]) == (["a", "b", "caf\udce9"], [1, 0, 1, 2], "a")
    assert Labels.of(labels) is labels
    np.testing.assert_array_equal(np.array(labels), np.array(["b", "a", "b", "caf\udce9"]))


def test_wrong_bytes_are_rejected():
    """Wrong lengths, numbers without a name, and bytes that are no text."""
    with pytest.raises(ValueError, match="bytes of text"):
        unpack_texts(memoryview(pack_texts(["abc", "d"])[:-1]), 2, "x")
    for ids in ([0, 2], [-1, 0]):
        with pytest.raises(ValueError, match="below 2"):
            unpack_label_ids(memoryview(np.array(ids, "<i4").tobytes()), 2, 2)
    with pytest.raises(IndexFileError, match="text is damaged"):
        unpack_texts(memoryview(b"\1\0\0\0\xff"), 1, "x")[0]
