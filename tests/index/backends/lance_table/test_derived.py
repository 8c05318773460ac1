"""Sums over the rows of a table belong to one version of it."""

import numpy as np
import pytest

from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.rows import RowProducts

pytest.importorskip("lance", reason="lance is not installed")

from lmm_classifier.index.backends.lance_table.derived import get_products, put_products
from lmm_classifier.index.backends.lance_table.layout import STATISTICS, part
from lmm_classifier.index.backends.lance_table.named_arrays import put_arrays


def test_they_are_read_as_they_were_stored(tmp_path):
    """Of several encoders, with square roots or without; none before, and none of another version."""
    url, rng = str(tmp_path / "table.lance"), np.random.default_rng(0)
    assert get_products(url, "1") == {}
    first = RowProducts(rng.normal(size=(3, 3)))
    second = RowProducts(*(rng.normal(size=shape) for shape in ((4, 4), (2, 4), (4, 4))))
    put_products(url, "1", {0: first, 2: second})
    found = get_products(url, "1")
    assert found.keys() == {0, 2}
    for one, other in ((found[0], first), (found[2], second)):
        assert {name: array.tobytes() for name, array in one.to_arrays().items()} == {
            name: array.tobytes() for name, array in other.to_arrays().items()
        }
    assert get_products(url, "2") == {}
    put_products(url, "2", {0: second})
    assert (get_products(url, "1"), get_products(url, "2").keys()) == ({}, {0})


@pytest.mark.parametrize("damaged", [{"rooted_sums": np.eye(3)}, {"products": np.ones((2, 3))}], ids=["half", "shape"])
def test_damaged_sums_are_an_error(tmp_path, damaged):
    """It names the place, and says what to do."""
    url = str(tmp_path / "table.lance")
    arrays = {"products": np.eye(3), **damaged}
    put_arrays(
        part(url, STATISTICS),
        {"version": np.array(["1"]), **{f"encoder.0.{name}": array for name, array in arrays.items()}},
    )
    with pytest.raises(IndexFileError, match=r"statistics\.lance is damaged.*build again"):
        get_products(url, "1")
