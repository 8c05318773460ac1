"""Images as scikit-learn passes them on: a list, an array of paths, or one column of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lmm_classifier.core.errors import ImageInputError
from lmm_classifier.data.image_inputs import ImageInput, check_inputs


def image_column(values: Any) -> Sequence[ImageInput]:
    """Return n images of what `check_inputs` accepts, of an array of paths (n,) or (n, 1), or of a table of one column.

    Raises:
        ImageInputError: the values are not several images, or the table has another number of columns.
    """
    if hasattr(values, "columns") and hasattr(values, "to_numpy"):  # a DataFrame of pandas or Polars
        columns = [str(name) for name in values.columns]
        if len(columns) != 1:
            raise ImageInputError(
                f"Expected one column of images, got a DataFrame of {len(columns)} columns. Give one, such as "
                f'`df["{"path" if "path" in columns or not columns else columns[0]}"]`.'
            )
        values = values.to_numpy()
    if isinstance(values, np.ndarray) and values.dtype.kind in "UO":
        if values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1):
            values = values.ravel().tolist()
        elif values.ndim == 2:
            raise ImageInputError(f"Expected one column of images, got an array of shape {values.shape}. Give one.")
    return check_inputs(values)
