"""All rows of a finished table, read once from the first to the last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.errors import IndexFileError
from lmm_classifier.index.backends.lance_table.about import About
from lmm_classifier.index.backends.lance_table.columns import hexadecimal, vectors_of
from lmm_classifier.index.backends.lance_table.datasets import translated
from lmm_classifier.index.backends.lance_table.layout import vector_column
from lmm_classifier.index.storage.columns import Labels
from lmm_classifier.index.storage.table import Table

_ROWS = 8192  # read at a time


@dataclass(frozen=True)
class Examples:
    """The N examples of a table of R rows, in the order of their ids, and where those of a row are."""

    table: Table
    places_of_row: IntArray  # (N,) place of each example, in the order of the rows
    first_of_row: IntArray  # (R + 1,) where the places of a row begin


@dataclass(frozen=True)
class TableReader:
    """Reads the opened rows of the table at `url`."""

    url: str
    dataset: Any
    about: About

    def examples(self) -> Examples:
        """Return all examples, one for each id of a row; raise IndexFileError where two have the same id."""
        paths, hashes = list[str](), list[str]()
        labels, counts = list[IntArray](), list[IntArray]()
        for batch in self._batches(["label", "content", "paths"]):
            ids = batch["paths"].to_pylist()
            paths += [path for of_row in ids for path in of_row]
            counts.append(np.array([len(of_row) for of_row in ids], np.int64))
            hashes += hexadecimal(batch["content"])
            labels.append(batch["label"].to_numpy().astype(np.int64))
        counted = np.concatenate([np.empty(0, np.int64), *counts])
        self._require_complete(len(counted), len(paths))
        order = np.array(sorted(range(len(paths)), key=paths.__getitem__), np.int64)
        places = np.empty(len(order), np.int64)
        places[order] = np.arange(len(order))
        row_of = np.repeat(np.arange(len(counted)), counted)[order].tolist()
        ids = [paths[number] for number in order.tolist()]
        if (again := next((one for one, other in pairwise(ids) if one == other), None)) is not None:
            raise IndexFileError(f"{self.url} has two examples with the id {again!r}. Build it again.")
        numbers = np.concatenate(labels)[row_of]
        table = Table(Labels(list(self.about.label_names), numbers), ids, [hashes[row] for row in row_of])
        return Examples(table, places, np.concatenate([[0], np.cumsum(counted)]))

    def vectors(self, encoder: int) -> Iterator[tuple[int, Float32Array]]:
        """Yield the number of the first row and the vectors (n, dim) of each block."""
        column, dim = vector_column(encoder), self.about.manifest.fingerprints[encoder].dim
        start = 0
        for batch in self._batches([column]):
            yield start, vectors_of(batch[column], dim)
            start += batch.num_rows

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        with translated(self.url):
            yield from self.dataset.scanner(columns=columns, batch_size=_ROWS, scan_in_order=True).to_batches()

    def _require_complete(self, rows: int, examples: int) -> None:
        if (rows, examples) != (self.about.rows, self.about.manifest.count):
            raise IndexFileError(
                f"{self.url} has {rows} rows with {examples} examples, but {self.about.rows} with "
                f"{self.about.manifest.count} were written. Build it again."
            )
