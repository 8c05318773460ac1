"""Fit the transforms of a table's encoders by passes over its chunks; memory does not grow with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.protocols import Encoder, TransformFitter
from lmm_classifier.distributed.chunk_folder import ChunkFolder, StoredChunk
from lmm_classifier.distributed.chunk_rows import vectors_of
from lmm_classifier.embeddings.whitening import IdentityFitter


def fit_transforms(
    encoders: Sequence[Encoder], folder: ChunkFolder, chunks: Sequence[StoredChunk], dtype: str
) -> list[Mapping[str, NDArray[Any]]]:
    """Return the arrays of the transform of each encoder, fitted on all good rows of chunks, in their order.

    An encoder that was trained for cosine similarity has a transform without arrays, and nothing is read for it.

    Args:
        encoders: of the table, in order.
        folder: where the chunks are.
        chunks: those of the table, always in the same order, since the last bits of a sum depend on it.
        dtype: the number type in which an index has the vectors.
    """
    return [
        encoder.transform_fitter.fit(partial(_rows, folder, chunks, place, np.dtype(dtype))).to_arrays()
        for place, encoder in enumerate(encoders)
    ]


def transform_name(fitter: TransformFitter) -> str:
    """Return the name of the transforms that a fitter makes."""
    return "identity" if isinstance(fitter, IdentityFitter) else fitter.fit(lambda: ()).name


def _rows(
    folder: ChunkFolder, chunks: Sequence[StoredChunk], place: int, dtype: np.dtype[Any]
) -> Iterator[Float32Array]:
    for chunk in chunks:
        table = folder.table(chunk)
        vectors = vectors_of(table, place)[table["kind"].is_null().to_numpy()]
        if len(vectors):
            yield vectors.astype(dtype).astype(np.float32)
