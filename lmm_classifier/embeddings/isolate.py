"""Keeps one picture that an encoder cannot take from costing its whole batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmm_classifier.errors import EncoderError
from lmm_classifier.protocols import Encoder, FloatArray, Prepared


def encode_each(encoder: Encoder, prepared: Sequence[Prepared]) -> tuple[FloatArray, dict[int, EncoderError]]:
    """Encode what can be encoded: unit rows (m, dim) of the good pictures in order, and an error for each other one.

    A batch that fails is encoded again one by one. If that fails for every picture of several, the encoder itself is
    broken, and its error is raised.
    """
    try:
        return _checked(encoder.encode(prepared)), {}
    except EncoderError as error:
        if len(prepared) == 1:
            return np.empty((0, encoder.fingerprint.dim), np.float32), {0: error}
    rows: list[FloatArray] = []
    errors: dict[int, EncoderError] = {}
    for number, one in enumerate(prepared):
        try:
            rows.append(_checked(encoder.encode([one])))
        except EncoderError as error:
            errors[number] = error
    if not rows:
        raise errors[0]
    return np.concatenate(rows), errors


def _checked(vectors: FloatArray) -> FloatArray:
    """Return `vectors` if all rows are finite and of unit length (to 1 %), else raise EncoderError."""
    lengths = np.linalg.norm(vectors, axis=1)
    if not (np.abs(lengths - 1) < 0.01).all():  # false for NaN too
        raise EncoderError("the encoder gave a vector that is not finite or has no direction")
    return vectors
