"""Parquet files: any type of column, row groups, damage."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmm_classifier.core.errors import ImageError
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.file_content import read_bytes
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.readers import parquet_file
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import open_dataset, open_root
from lmm_classifier.data.readers.parquet_file import ParquetTable
from lmm_classifier.data.readers.source_file import LocalFile
from tests.helpers.damage import assert_clear_errors

pa = pytest.importorskip("pyarrow", reason="needs pyarrow")
pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")


def test_images_are_found_by_their_row(tmp_path):
    """In any row group; names are for people only, whatever they hold."""
    names = ["a/b.png", "..\\..\\x", "\u202egnp", "", None, "nul\0"]
    rows = [{"image": {"bytes": b"%d" % n, "path": name}, "label": n % 2} for n, name in enumerate(names)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=2)
    dataset = open_dataset(DatasetSpec(str(tmp_path / "x.parquet")), ImagesConfig())
    root = open_root(dataset.source)
    assert [(root / e.path).read_bytes() for e in dataset.examples] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert [e.path for e in dataset.examples][:2] == ["00000000-b.png", "00000001-x"]
    assert {e.label for e in dataset.examples} == {"0", "1"}
    for path in ("00000006", "-1", "x", "9" * 30):
        with pytest.raises(OSError, match="no row"):
            (root / path).stat()


def test_rows_without_bytes(tmp_path):
    """They are images that cannot be read."""
    table = pa.table({"image": pa.array([b"x", None], pa.binary()), "label": ["a", "b"]})
    pq.write_table(table, tmp_path / "x.parquet")
    place = open_root(str(tmp_path / "x.parquet")) / "00000001"
    with pytest.raises(ImageError, match="no bytes of an image"):
        read_bytes(place, ImageLimits())


@pytest.mark.parametrize("kind", ["binary", "large_binary", "string", "list", "struct"])
def test_what_holds_images(tmp_path, kind):
    """Binary columns and structs with bytes; others do not."""
    values = {
        "binary": pa.array([b"x"], pa.binary()),
        "large_binary": pa.array([b"x"], pa.large_binary()),
        "string": pa.array(["x"]),
        "list": pa.array([[1]]),
        "struct": pa.array([{"path": "x"}]),
    }
    pq.write_table(pa.table({"image": values[kind]}), tmp_path / "x.parquet")
    assert ParquetTable(LocalFile(tmp_path / "x.parquet")).holds_images("image") == ("binary" in kind)


def test_a_huge_row_group_is_refused(tmp_path, monkeypatch):
    """It would take all memory; the message says how to write the file."""
    monkeypatch.setattr(parquet_file, "_MOST", 1000)
    pq.write_table(pa.table({"image": [bytes(5000)], "label": ["a"]}), tmp_path / "x.parquet", compression="none")
    with pytest.raises(OSError, match="smaller row groups"):
        (open_root(str(tmp_path / "x.parquet")) / "00000000").read_bytes()


def _file():
    stream = io.BytesIO()
    pq.write_table(pa.table({"image": [b"one", b"two"] * 9, "label": ["a", "b"] * 9}), stream, row_group_size=6)
    return stream.getvalue()


FILE = _file()


@settings(max_examples=30, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(FILE) - 1), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, len(FILE) // 2),
)
def test_a_damaged_file_gives_clear_errors(tmp_path_factory, changes, cut):
    """Whatever the bytes are."""
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    assert_clear_errors(path, FILE, changes, cut // 2, announces_sizes=False)
