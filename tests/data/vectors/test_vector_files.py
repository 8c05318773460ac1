"""A file is read by its ending."""

import numpy as np
import pytest

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.vectors.named_vectors import VectorColumns
from lmm_classifier.data.vectors.vector_files import read_vectors


def test_each_kind_of_file(tmp_path):
    """An array, a table, and a folder of tables."""
    np.save(tmp_path / "a.NPY.npy", np.eye(2))
    assert read_vectors(tmp_path / "a.NPY.npy").vectors.shape == (2, 2)
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    parquet.write_table(arrow.table({"vector": [[1.0, 0.0]], "label": ["a"]}), tmp_path / "b.parquet")
    assert read_vectors(tmp_path / "b.parquet").labels == ["a"]
    assert read_vectors(tmp_path, VectorColumns(None, None)).labels is None
    with pytest.raises(DatasetError, match="its labels, ids and groups are columns"):
        read_vectors(tmp_path / "b.parquet", labels=tmp_path / "a.txt")


def test_other_files(tmp_path):
    """Of another ending."""
    with pytest.raises(DatasetError, match=r"no known ending. Expected .npy, .parquet"):
        read_vectors(tmp_path / "a.csv")
