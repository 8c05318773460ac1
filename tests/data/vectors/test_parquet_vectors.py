"""Vectors, labels and ids are read from Parquet of every type that libraries write, and mistakes are named by row."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import DatasetError, LmmClassifierError, VectorError
from lmm_classifier.core.vectors import normalized_vectors
from lmm_classifier.data.vectors.named_vectors import VectorColumns
from lmm_classifier.data.vectors.parquet_vectors import has_vector_column, read_parquet
from lmm_classifier.testing import random_embeddings

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")

ROWS = random_embeddings(np.random.default_rng(0), 6, 4)
LABELS = ["cat", "dog", "cat", "דג", "dog", "eel"]


def write(file, vectors, labels=LABELS, **columns):
    """Write a table with the column `vector`."""
    pq.write_table(pa.table({"label": labels, "vector": vectors, **columns}), file)
    return file


TYPES = {
    "list of float64": pa.list_(pa.float64()),
    "list of float32": pa.list_(pa.float32()),
    "large list": pa.large_list(pa.float32()),
    "fixed size": pa.list_(pa.float32(), 4),
    "float16": pa.list_(pa.float16(), 4),
    "integers": pa.list_(pa.int8()),
}


@pytest.mark.parametrize("name", TYPES)
def test_vectors_of_each_type(tmp_path, name):
    """They become what `normalized_vectors` makes of them."""
    values = np.rint(ROWS * 100) if name == "integers" else ROWS
    rows = [row.astype(np.float16) if name == "float16" else row.tolist() for row in values]
    rows = [[int(value) for value in row] for row in rows] if name == "integers" else rows
    path = write(tmp_path / "a.parquet", pa.array(rows, TYPES[name]))
    read = read_parquet(path, VectorColumns())
    given = values.astype(np.float16) if name == "float16" else values
    assert (read.vectors == normalized_vectors(given)).all()
    assert read.labels == LABELS
    assert read.ids is None
    assert read.columns == "vectors of 'vector', labels of 'label'"


def test_a_column_of_tensors(tmp_path):
    """As pyarrow's own type of tensors stores them."""
    path = write(tmp_path / "a.parquet", pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS))
    assert (read_parquet(path, VectorColumns()).vectors == ROWS).all()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array(LABELS, pa.large_string()), LABELS),
        (pa.array(LABELS).dictionary_encode(), LABELS),
        (pa.array([3, 1, 3, 2, 1, 0], pa.int64()), ["3", "1", "3", "2", "1", "0"]),
    ],
)
def test_labels_of_each_type(tmp_path, labels, expected):
    """Text, categories, and the numbers of classes."""
    assert read_parquet(write(tmp_path / "a.parquet", ROWS.tolist(), labels), VectorColumns()).labels == expected


def test_names_of_classes(tmp_path):
    """Numbers have the names that the library `datasets` stores with them."""
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    table = pa.table({"label": [0, 1, 7], "vector": ROWS[:3].tolist()})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_parquet(tmp_path / "a.parquet", VectorColumns()).labels == ["cat", "dog", "7"]
    for damaged in ("[]", "{", '{"info": {"features": {"label": {"names": [3]}}}}'):
        pq.write_table(table.replace_schema_metadata({"huggingface": damaged}), tmp_path / "b.parquet")
        assert read_parquet(tmp_path / "b.parquet", VectorColumns()).labels == ["0", "1", "7"]


def test_other_columns_and_a_folder(tmp_path):
    """Columns are named; files of a folder are read in the order of their names, and rows counted through them."""
    for number in (2, 1):
        table = {"emb": ROWS[number::2].tolist(), "other": ROWS.tolist()[: len(ROWS[number::2])]}
        table |= {"class": LABELS[number::2], "path": [f"/{number}/{row}" for row in range(len(ROWS[number::2]))]}
        pq.write_table(pa.table(table), tmp_path / f"{number}.parquet")
    (tmp_path / "notes.txt").write_text("no table", encoding="utf-8")
    read = read_parquet(tmp_path, VectorColumns("emb", "class", "path"))
    assert (read.vectors == np.concatenate([ROWS[1::2], ROWS[2::2]])).all()
    assert read.labels == LABELS[1::2] + LABELS[2::2]
    assert read.ids == ["/1/0", "/1/1", "/1/2", "/2/0", "/2/1"]
    assert read.columns == "vectors of 'emb', labels of 'class', ids of 'path'"
    assert read_parquet(tmp_path, VectorColumns("emb", None)).labels is None
    with pytest.raises(DatasetError, match="several columns of lists of numbers: emb, other. Columns: .* Name the one"):
        read_parquet(tmp_path, VectorColumns())


def test_many_rows(tmp_path):
    """In more than one batch, bit for bit."""
    rows = random_embeddings(np.random.default_rng(1), 9000, 3)
    path = write(tmp_path / "a.parquet", pa.array(list(rows), pa.list_(pa.float32())), ["cat"] * 9000)
    assert (read_parquet(path, VectorColumns()).vectors == rows).all()


@pytest.mark.parametrize(
    ("vectors", "labels", "columns", "error", "message"),
    [
        ([[1.0, 2.0], None], "ab", (), DatasetError, "column 'vector' has no value in row 1"),
        ([[1.0, 2.0], [1.0]], "ab", (), DatasetError, "has 1 numbers in row 1, but 2 before"),
        ([[1.0, 2.0], [1.0, None]], "ab", (), DatasetError, "missing numbers"),
        ([[1.0, 2.0], [1.0, float("nan")]], "ab", (), VectorError, "row 1 holds NaN"),
        ([[1.0, 2.0], [0.0, 0.0]], "ab", (), VectorError, "row 1 is zero"),
        ([[], []], "ab", (), DatasetError, "has no column of lists of numbers"),
        ([[1.0], [2.0]], ["a", None], (), DatasetError, "column 'label' has no value in row 1"),
        ([[1.0], [2.0]], [0.5, 1.0], (), DatasetError, "has float in row 0. Expected text or a whole number"),
        ([[1.0], [2.0]], [True, False], (), DatasetError, "has bool in row 0"),
        ([[1.0], [2.0]], "ab", ("label",), DatasetError, "column 'label' has string. Expected lists of numbers"),
        ([[1.0], [2.0]], "ab", ("nothing",), DatasetError, "no column 'nothing'. Columns: label, vector"),
        ([[1.0], [2.0]], "ab", (None, "name"), DatasetError, "no column 'name'. Columns: label, vector"),
        ([[1.0], [2.0]], "ab", (None, "label", "path"), DatasetError, "no column 'path'"),
        (["x", "y"], "ab", (), DatasetError, "has no column of lists of numbers"),
        ([["x"], ["y"]], "ab", (), DatasetError, "has no column of lists of numbers"),
    ],
)
def test_what_is_refused(tmp_path, vectors, labels, columns, error, message):
    """The message names the file, the column and the row."""
    path = write(tmp_path / "a.parquet", vectors, list(labels))
    with pytest.raises(error, match=message):
        read_parquet(path, VectorColumns(*columns))


def test_the_second_file_has_another_width(tmp_path):
    """All vectors are of one encoder."""
    write(tmp_path / "1.parquet", [[1.0, 2.0]], ["a"])
    write(tmp_path / "2.parquet", [[1.0, 2.0, 3.0]], ["a"])
    with pytest.raises(VectorError, match=r"\(n, 2\), got \(1, 3\)"):
        read_parquet(tmp_path, VectorColumns())


def test_files_that_are_no_tables(tmp_path):
    """Missing, empty, cut, of another kind, and a folder without one."""
    whole = write(tmp_path / "a.parquet", ROWS.tolist()).read_bytes()
    for data in (b"", b"PAR1", whole[:-20], whole[: len(whole) // 2], b"\x00" * 400, whole[:40] + whole[60:]):
        (tmp_path / "b.parquet").write_bytes(data)
        with pytest.raises(DatasetError, match="cannot be read as Parquet"):
            read_parquet(tmp_path / "b.parquet", VectorColumns())
    with pytest.raises(DatasetError, match="does not exist"):
        read_parquet(tmp_path / "c.parquet", VectorColumns())
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError, match="no file in this folder"):
        read_parquet(tmp_path / "folder", VectorColumns())


def test_no_rows(tmp_path):
    """A table without rows gives no vectors; making an index of them is refused there."""
    path = write(tmp_path / "a.parquet", pa.array([], pa.list_(pa.float32())), pa.array([], pa.string()))
    assert len(read_parquet(path, VectorColumns()).vectors) == 0


@settings(max_examples=60)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_byte_is_an_error_or_harmless(tmp_path_factory, place, value):
    """Whatever byte of the file changes, nothing else than an error of the package comes out."""
    folder = tmp_path_factory.mktemp("damaged")
    data = bytearray(write(folder / "a.parquet", ROWS.tolist(), path=list("abcdef")).read_bytes())
    data[place % len(data)] = value
    (folder / "a.parquet").write_bytes(data)
    try:
        read_parquet(folder / "a.parquet", VectorColumns(None, "label", "path"))
    except LmmClassifierError:
        pass


def test_wide_tables(tmp_path):
    """A message lists the first columns and counts the others."""
    file = write(tmp_path / "wide.parquet", list(ROWS), **{f"column{number}": LABELS for number in range(30)})
    with pytest.raises(DatasetError, match=r"column 'x'. Columns: label, vector, .*, column17 and 12 more\.$"):
        read_parquet(file, VectorColumns(None, "x"))


def test_whether_a_file_has_vectors(tmp_path):
    """Other files and folders have none."""
    assert has_vector_column(write(tmp_path / "table.parquet", list(ROWS)))
    assert not has_vector_column(write(tmp_path / "texts.parquet", LABELS))
    (tmp_path / "other.parquet").write_bytes(b"no table")
    assert not any(map(has_vector_column, (tmp_path / "other.parquet", tmp_path, tmp_path / "none.parquet")))
