"""Check a finished table: every row is read once, and what is known of the rows is computed again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.errors import IndexFileError, MissingExtraError
from lmm_classifier.index.backends.lance_table.about import About
from lmm_classifier.index.backends.lance_table.calibrations import get_calibration
from lmm_classifier.index.backends.lance_table.columns import contents_of, vectors_of
from lmm_classifier.index.backends.lance_table.datasets import translated
from lmm_classifier.index.backends.lance_table.finishing import finished, is_finished
from lmm_classifier.index.backends.lance_table.layout import ARRIVALS, part, vector_column
from lmm_classifier.index.backends.lance_table.table import LanceTable
from lmm_classifier.index.storage.state import as_embeddings

_ROWS = 8192  # read at a time
_TOLERANCE = 1e-9  # of a number of a mean, which is summed in another order here
_AGAIN = "finish the table again, or build it again"


def table_problems(url: str) -> Iterator[tuple[bool, str, str]]:
    """Yield for each problem of a table whether it is damage, what it is, and what to do.

    Raises:
        IndexFileError: there is no finished table.
        MissingExtraError: lance is not installed.
    """
    found = finished(url)
    if found is None:
        raise IndexFileError(f"There is no finished table at {url}.")
    dataset, about = found
    try:
        yield from ((True, what, _AGAIN) for what in _RowCheck(about).problems(url, dataset))
    except MissingExtraError:
        raise
    except (IndexFileError, ValueError) as error:
        yield True, f"its rows cannot be read: {error}", _AGAIN
    try:
        get_calibration(url)
    except IndexFileError as error:
        yield True, f"its calibration cannot be read: {error}", "calibrate it again"
    try:
        if _has_later_chunks(url, dataset, about):
            yield False, "chunks came after its rows were made", "a build that ends takes those that are wanted"
    except IndexFileError as error:
        yield False, f"its arrivals cannot be read: {error}", "the rows are not concerned; a build makes a new table"


def _has_later_chunks(url: str, rows: Any, about: About) -> bool:
    """Return whether chunks were committed after these rows. Those that a former build wanted came before."""
    if is_finished(LanceTable.open(url).committed_chunks(), about):
        return False
    location = part(url, ARRIVALS)
    with translated(str(location)):
        return bool(_time(location.open()) > _time(rows))


def _time(dataset: Any) -> Any:
    """Return when a version was committed."""
    return next(entry["timestamp"] for entry in dataset.versions() if entry["version"] == dataset.version)


class _RowCheck:
    """Counts, means and order of the rows so far."""

    def __init__(self, about: About) -> None:
        self._about = about
        labels = len(about.label_names)
        self._counts = np.zeros(labels, np.int64)
        self._sums = [np.zeros(means.shape) for means in about.means]
        self._examples = 0
        self._last = (-1, b"")  # label and content of the row before
        self._unsorted = self._not_finite = 0

    def problems(self, url: str, dataset: Any) -> list[str]:
        """Read all rows, and return what is wrong with them."""
        columns = ["label", "content", "paths", *(vector_column(place) for place in range(len(self._sums)))]
        with translated(url):
            for batch in dataset.scanner(columns=columns, batch_size=_ROWS, scan_in_order=True).to_batches():
                self._add(batch)
        return list(self._wrong())

    def _add(self, batch: Any) -> None:
        labels: IntArray = batch["label"].to_numpy().astype(np.int64)
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self._counts):
            raise ValueError(f"a row has a label that is none of the {len(self._counts)}")
        keys = list(zip(labels.tolist(), map(bytes, contents_of(batch["content"]))))
        self._unsorted += sum(one >= other for one, other in pairwise([self._last, *keys]))
        self._last = keys[-1]
        self._counts += np.bincount(labels, minlength=len(self._counts))
        self._examples += len(batch["paths"].flatten())
        dims = [fingerprint.dim for fingerprint in self._about.manifest.fingerprints]
        for place, (sums, dim) in enumerate(zip(self._sums, dims)):
            rows = self._vectors(batch, place, dim)
            self._not_finite += int((~np.isfinite(rows)).any(axis=1).sum())
            np.add.at(sums, labels, rows.astype(np.float64))

    def _vectors(self, batch: Any, encoder: int, dim: int) -> Float32Array:
        return as_embeddings(
            vectors_of(batch[vector_column(encoder)], dim).astype(self._about.extras.dtype, copy=False)
        )

    def _wrong(self) -> Iterator[str]:
        if self._unsorted:
            yield f"{self._unsorted} rows are not in the order of label and content, or are there twice"
        if self._not_finite:
            yield f"{self._not_finite} vectors hold numbers that are not finite"
        if not np.array_equal(self._counts, self._about.counts):
            yield f"it has {self._counts.sum()} rows, but {self._about.rows} were written, or their labels differ"
        elif not self._not_finite and not all(map(self._are_means, self._sums, self._about.means)):
            yield "the means of its labels are not those of its vectors"
        if self._examples != self._about.manifest.count:
            yield f"it has {self._examples} examples, but {self._about.manifest.count} were written"

    def _are_means(self, sums: Float64Array, means: Float64Array) -> bool:
        return bool(np.abs(sums / np.maximum(self._counts, 1)[:, None] - means).max(initial=0) <= _TOLERANCE)
