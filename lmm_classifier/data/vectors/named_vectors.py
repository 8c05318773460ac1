"""Vectors from a file, with their labels and ids where it has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lmm_classifier.core.arrays import Float32Array


@dataclass(frozen=True)
class NamedVectors:
    """Normalized vectors (n, dim), with n labels, n ids and n groups; None where the file has none."""

    vectors: Float32Array
    labels: Sequence[str] | None = None
    ids: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    columns: str = ""  # the columns that were read, in words; empty where there are none


@dataclass(frozen=True)
class VectorColumns:
    """The columns of a table that are read."""

    vector: str | None = None
    """None: the only column of lists of numbers."""
    label: str | None = "label"
    """None: labels are not wanted."""
    path: str | None = None
    """The column of the ids; None: the rows are numbered."""
    group: str | None = None
    """The column of groups, such as objects; None: there are none. An empty cell is no group."""
