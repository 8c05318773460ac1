"""Rows of a chunk come back from their file, with the same bits."""

import numpy as np
import pytest

from lmm_classifier.core.errors import OutputError
from lmm_classifier.distributed.chunk_rows import (
    FileRow,
    committed,
    from_bytes,
    from_table,
    known_rows,
    made_of,
    storable,
    to_bytes,
    to_table,
    vectors_of,
)
from lmm_classifier.distributed.listing import ListedFile


def a_row(number, **values):
    vectors = tuple(np.random.default_rng((number, dim)).normal(size=dim).astype(np.float32) for dim in (5, 3))
    return FileRow(ListedFile(f"a/{number}", "a", 1, 2, 3), f"{number:064x}", vectors, **values)


ROWS = [
    a_row(1),
    FileRow(ListedFile("a/2", "a", -1, 0, 0), None, (), "unreadable", "gone", False),
    FileRow(ListedFile("a/3", "b", 9, 8, 7), "f" * 64, (), "corrupt", "cut"),
    a_row(4),
]


def test_rows_come_back():
    """Good ones with the bits of their vectors, bad ones with their reason."""
    table = from_bytes(to_bytes(to_table(ROWS, [5, 3], "an encoder")), "a file")
    assert made_of(table) == "an encoder"
    for row, again in zip(ROWS, from_table(table, "a file"), strict=True):
        assert (row.file, row.content_hash, row.kind, row.reason, row.is_final) == (
            again.file,
            again.content_hash,
            again.kind,
            again.reason,
            again.is_final,
        )
        assert [vector.tobytes() for vector in row.vectors] == [vector.tobytes() for vector in again.vectors]
    assert np.isnan(vectors_of(table, 1)).all(axis=1).tolist() == [False, True, True, False]


def test_the_store_gets_its_columns():
    """And none of those that only a chunk has."""
    names = committed(to_table(ROWS, [5, 3], "x")).column_names
    assert names == ["content", "path", "label", "kind", "reason", "vector", "vector_1"]


def test_a_chunk_of_bad_files_only_comes_back():
    """Its vectors have a width all the same."""
    table = from_bytes(to_bytes(to_table(ROWS[1:3], [5], "x")), "a file")
    assert vectors_of(table).shape == (2, 5)
    assert [row.kind for row in from_table(table, "a file")] == ["unreadable", "corrupt"]


@pytest.mark.parametrize("place", [10, 200, 500])
def test_a_flipped_bit_is_told(place):
    """Pages have checksums."""
    data = bytearray(to_bytes(to_table([a_row(number) for number in range(40)], [5, 3], "x")))
    data[place] ^= 4
    with pytest.raises(OutputError, match="a file is damaged"):
        from_table(from_bytes(bytes(data), "a file"), "a file")


def test_another_file_is_no_chunk():
    """A table of another program has no such columns."""
    import pyarrow as pa

    with pytest.raises(OutputError, match="no chunk of this program"):
        from_table(pa.table({"x": [1]}), "a file")


def test_only_final_rows_of_files_with_times_are_taken_over():
    """All others are read again."""
    timeless = FileRow(ListedFile("a/5", "a", 1, 0, 0), "0" * 64)
    assert set(known_rows([*ROWS, timeless])) == {ROWS[0].file, ROWS[2].file, ROWS[3].file}


def test_a_name_that_is_no_text_is_escaped():
    """The file itself is refused by the worker."""
    assert storable("a/\udcff.png") == "a/\\udcff.png"
    assert storable("a/é.png") == "a/é.png"
