"""Images come as scikit-learn passes them on: arrays of paths, and tables of one column."""

from pathlib import Path

import numpy as np
import pytest

from lmm_classifier.core.errors import ImageInputError
from lmm_classifier.integrations.sklearn.image_column import image_column

PATHS = ["a.png", "b.png"]


@pytest.mark.parametrize("values", [PATHS, np.array(PATHS), np.array(PATHS, object), np.array(PATHS)[:, None]])
def test_paths(values):
    """In a list, or in an array of text or objects."""
    assert image_column(values) == PATHS


def test_objects():
    """An array of objects may hold what a list may."""
    assert image_column(np.array([Path("a.png"), b"bytes"], object)) == [Path("a.png"), b"bytes"]
    with pytest.raises(ImageInputError, match="got int"):
        image_column(np.array([3], object))


def test_tables():
    """A column is taken, and a table of one; of several columns one must be named."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = pandas.DataFrame({"path": PATHS, "label": ["x", "y"]})
    assert image_column(table["path"]) == PATHS
    assert image_column(table[["path"]]) == PATHS
    with pytest.raises(ImageInputError, match=r'got a DataFrame of 2 columns. Give one, such as `df\["path"\]`'):
        image_column(table)
    with pytest.raises(ImageInputError, match=r'`df\["file"\]`'):
        image_column(table.rename(columns={"path": "file"}))


@pytest.mark.parametrize("values", [np.array([PATHS]), np.zeros((3, 3)), "a.png"])
def test_what_is_no_column(values):
    """Several columns, one image, one path."""
    with pytest.raises(ImageInputError, match="Expected"):
        image_column(values)
