"""Small real things for tests and examples: random unit vectors, and an index made of vectors that are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.datatypes import Fingerprint
from lmm_classifier.core.protocols import FloatArray


def unit_rows(rng: np.random.Generator, n: int, dim: int) -> FloatArray:
    """Draw n random unit vectors, (n, dim) float32."""
    return _unit(rng.normal(size=(n, dim)))


def clustered_rows(rng: np.random.Generator, labels: Sequence[str], dim: int, spread: float = 0.5) -> FloatArray:
    """Draw one unit vector per label name, near that label's own random direction, (n, dim) float32."""
    names = sorted(set(labels))
    centres = unit_rows(rng, len(names), dim)
    return _unit(centres[[names.index(label) for label in labels]] + spread * unit_rows(rng, len(labels), dim))


def some_fingerprint(dim: int, revision: str = "1") -> Fingerprint:
    """Name an encoder that stands for vectors made by hand."""
    return Fingerprint("given", "vectors", revision, "none", dim, "float32")


def _unit(rows: NDArray[Any]) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / lengths, np.float32)
