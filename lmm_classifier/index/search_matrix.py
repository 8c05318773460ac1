"""The matrix that is searched: the vectors of an index in the space of its transform."""

from __future__ import annotations

import numpy as np

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.core.protocols import Transform
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.storage.state import as_embeddings


def search_matrix(contents: IndexContents, encoder: int, transform: Transform, path: IndexLocation) -> Float32Array:
    """Transform the stored vectors block by block; return normalized rows (N, d), float32."""
    matrix: Float32Array | None = None
    start = 0
    for block in contents.vectors[encoder].blocks():
        rows = transform.transform(as_embeddings(block))
        if matrix is None:
            matrix = np.empty((contents.manifest.count, rows.shape[1]), np.float32)
        matrix[start : start + len(rows)] = rows
        start += len(rows)
    if matrix is None or not np.isfinite(matrix).all():
        raise IndexFileError(f"{path} holds vectors that are not finite. Build it again with `lmm-classifier build`.")
    return matrix
