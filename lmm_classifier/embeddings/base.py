"""Base of the encoders that were trained for cosine similarity."""

from __future__ import annotations

import numpy as np

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.reopening import Reopened
from lmm_classifier.embeddings.whitening import IdentityFitter


class CosineEncoder(Reopened):
    """The parts of an `Encoder` that do not depend on the library that computes it.

    A subclass sets `fingerprint` and `image_size` when it opens its model, and adds `batch_size`, `preprocess` and
    `encode`. A copy opens the model again.
    """

    transform_fitter: IdentityFitter = IdentityFitter()  # these embeddings are compared as they are
    fingerprint: Fingerprint
    image_size: int

    def _normalized(self, rows: Float32Array, hint: str = "") -> Float32Array:
        """Return rows (n, dim) with norm 1; raises EncoderError if a row is not finite or is zero."""
        norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
        if not (np.isfinite(norms) & (norms > 0)).all():
            raise EncoderError(f"{self.fingerprint.model} gave a vector without a direction{hint}")
        normalized: Float32Array = (rows / norms).astype(np.float32)
        return normalized
