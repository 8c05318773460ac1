"""Arrays of NumPy and lists of labels of every kind; nothing is unpickled."""

import pickle

import numpy as np
import pytest

from lmm_classifier.core.errors import DatasetError, VectorError
from lmm_classifier.data.vectors.npy_vectors import read_npy

ROWS = np.eye(3, dtype=np.float32)


@pytest.fixture
def vectors(tmp_path):
    np.save(tmp_path / "vectors.npy", ROWS)
    return tmp_path / "vectors.npy"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("labels.txt", "cat\ndog\néel\n"),
        ("labels.txt", "cat\r\ndog\r\néel"),
        ("labels.txt", "\ufeffcat\ndog\néel\n"),
        ("labels", "cat\ndog\néel\n"),
        ("labels.csv", "label\ncat\ndog\néel\n"),
        ("labels.csv", 'id,label\r\n1,cat\r\n"2, or more",dog\r\n"3\n",éel\r\n'),
        ("labels.tsv", "id\tlabel\n1\tcat\n2\tdog\n3\téel\n"),
    ],
)
def test_lists_of_labels(vectors, name, data):
    """One a line, or a column; of any ends of lines."""
    path = vectors.with_name(name)
    path.write_bytes(data.encode())
    read = read_npy(vectors, path)
    assert read.labels == ["cat", "dog", "éel"]
    assert (read.vectors == ROWS).all()
    assert read.ids is None


def test_arrays_of_labels_and_ids(vectors):
    """Text and whole numbers, without pickle."""
    np.save(vectors.with_name("labels.npy"), np.array([2, 10, 2]))
    np.save(vectors.with_name("ids.npy"), np.array(["/a", "b", "é"]))
    read = read_npy(vectors, vectors.with_name("labels.npy"), vectors.with_name("ids.npy"))
    assert (read.labels, read.ids) == (["2", "10", "2"], ["/a", "b", "é"])
    assert read_npy(vectors).labels is None


def test_spaces_are_kept(vectors):
    """A label is what stands in the line; making an index refuses what cannot be seen."""
    vectors.with_name("l.txt").write_text("cat \n\x85dog\n\x1c\n", encoding="utf-8")
    assert read_npy(vectors, vectors.with_name("l.txt")).labels == ["cat ", "\x85dog", "\x1c"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("l.txt", b"cat\ndog\n", "has 2 values, but .* has 3 vectors"),
        ("l.txt", b"cat\n\xff\ndog\n", "as text in UTF-8"),
        ("l.csv", b"name\ncat\n", "no column 'label'. Columns: name"),
        ("l.csv", b"", "no column 'label'"),
        ("l.csv", b"id,label\n1,cat\n2\n3,dog\n", "no label in row 1"),
        ("l.csv", b'label\n"cat"x\ndog\neel\n', "cannot be read as CSV"),
        ("l.csv", b"label,label\na,b\n", "no column 'label'"),
        ("missing.txt", None, "does not exist"),
        ("missing.npy", None, "does not exist"),
    ],
)
def test_lists_that_are_refused(vectors, name, data, message):
    """The message names the file and the row."""
    path = vectors.with_name(name)
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(DatasetError, match=message):
        read_npy(vectors, path)


def test_arrays_that_are_refused(vectors, tmp_path):
    """Pickled objects, several arrays, cut files and other kinds; no code of a file runs."""
    other = tmp_path / "other.npy"
    np.save(other, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"of Python objects. Save vectors.astype\('float32'\) instead"):
        read_npy(other)
    other.write_bytes(pickle.dumps([[1.0]]))
    with pytest.raises(DatasetError, match="as an array of NumPy"):
        read_npy(other)
    with other.open("wb") as file:
        np.savez(file, a=ROWS, b=ROWS)
    with pytest.raises(DatasetError, match="several arrays"):
        read_npy(other)
    whole = vectors.read_bytes()
    for data in (b"", whole[:20], whole[:-4], whole.replace(b"(3, 3)", b"(9, 9)"), whole.replace(b"'<f4'", b"'<f9'")):
        other.write_bytes(data)
        with pytest.raises(DatasetError, match="as an array of NumPy"):
            read_npy(other)
    np.save(other, np.ones(3))
    with pytest.raises(VectorError, match=r"\(3,\)"):
        read_npy(other)
    np.save(other, np.ones((3, 1)))
    with pytest.raises(DatasetError, match="is an array of float64"):
        read_npy(vectors, other)


def test_lists_of_objects_say_what_to_save(vectors, tmp_path):
    """Pandas gives texts as objects, which NumPy can only pickle."""
    np.save(tmp_path / "labels.npy", np.array(["a", "b", "c"], dtype=object), allow_pickle=True)
    with pytest.raises(DatasetError, match=r"of Python objects. Save text: labels.astype\(str\) instead"):
        read_npy(vectors, tmp_path / "labels.npy")
    np.save(tmp_path / "labels.npy", np.array(["a", "b", "c"], dtype=object).astype(str))
    assert read_npy(vectors, tmp_path / "labels.npy").labels == ["a", "b", "c"]
