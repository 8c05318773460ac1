"""The statistics of a table, by the workers of an engine: each reads the rows of some labels once."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import IntArray
from lmm_classifier.core.errors import EngineError, IndexFileError
from lmm_classifier.core.protocols import Engine
from lmm_classifier.core.rows import RowProducts
from lmm_classifier.distributed.shared_files import SharedFiles, open_shared_files
from lmm_classifier.distributed.statistics.part_statistics import DatasetStatistics, PartStatistics, reduce_parts
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.backends.lance_table.derived import get_products, put_products
from lmm_classifier.index.backends.lance_table.finishing import finished
from lmm_classifier.index.backends.lance_table.row_store import LanceRowStore

_FOLDER = "statistics"  # of the parts
_ROWS = 65_536  # that a task has at most, unless one label has more


@dataclass(frozen=True, slots=True)
class LabelRange:
    """Labels from `first` up to, and without, `last`."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """Return a name that sorts as the labels do."""
        return f"{self.first:012}-{self.last:012}"


@dataclass(frozen=True)
class StatisticsWorkerBuilder:
    """Makes a worker where the work is done."""

    url: str
    encoder: int

    def __call__(self) -> StatisticsWorker:
        """Open the table and return the worker."""
        return StatisticsWorker(LanceRowStore.open(self.url, self.encoder), open_shared_files(self.url), self.encoder)


@dataclass(frozen=True)
class StatisticsWorker:
    """Writes the statistics of one range of labels after the other, and returns the range."""

    store: LanceRowStore
    files: SharedFiles
    encoder: int

    def __call__(self, task: LabelRange) -> LabelRange:
        """Read the rows of the labels, unless their statistics are there."""
        name = part_name(self.store.version, self.encoder, task)
        if not self.files.exists(name):
            stream = io.BytesIO()
            arrays: dict[str, Any] = dict(self._part(task).to_arrays())
            np.savez(stream, **arrays)
            self.files.put(name, stream.getvalue())
        return task

    def _part(self, task: LabelRange) -> PartStatistics:
        """Add up the rows block by block: a label may have more than memory holds."""
        blocks = self.store.rows_of_labels(np.arange(task.first, task.last), ("vectors", "contents"))
        parts = (
            (
                f"{number:012}",
                PartStatistics.of(
                    np.asarray(block.vectors, np.float32), block.label_ids - task.first, block.contents or ()
                ),
            )
            for number, block in enumerate(blocks)
        )
        total = reduce_parts(parts, task.last - task.first, self.store.means.shape[1])
        return PartStatistics(np.arange(task.first, task.last), total.counts, total.plain, total.rooted, total.digest)


def store_statistics(url: str, engine: Engine) -> None:
    """Make the sums over all rows of a finished table by workers, and store them with it, unless they are there.

    They are of the encoders whose own space is searched.

    Raises:
        EngineError: workers end again and again.
    """
    if (found := finished(url)) is None:
        raise IndexFileError(f"There is no finished table at {url}.")
    about = found[1]
    plain = [place for place, entry in enumerate(about.manifest.encoders) if entry.transform == IdentityTransform.name]
    if get_products(url, about.version).keys() >= set(plain):
        return
    made = dict[int, RowProducts]()
    for encoder in plain:
        sums = table_statistics(url, engine, encoder)
        rooted = () if sums.rooted is None else (sums.rooted.sums, sums.rooted.products)
        made[encoder] = RowProducts(sums.plain.products, *rooted)
    put_products(url, about.version, made)
    files = open_shared_files(url)
    for entry in list(files.entries(_FOLDER)):  # the parts are not needed any more
        files.delete(entry.name)


def table_statistics(url: str | Path, engine: Engine, encoder: int = 0) -> DatasetStatistics:
    """Return the statistics of the finished table at `url`; they have the same bits whatever was done first.

    Parts that are there, since this was interrupted or asked before, are not made again.

    Args:
        url: a folder, or the URL of an object store.
        engine: runs the workers.
        encoder: whose vectors, by its place in the table.

    Raises:
        IndexFileError: there is no finished table, or its vectors are compared after a transform.
        EngineError: workers end again and again.
    """
    store, files = LanceRowStore.open(str(url), encoder), open_shared_files(str(url))
    tasks = label_ranges(store.counts)
    done = {task.name for task in engine.run(tasks, StatisticsWorkerBuilder(str(url), encoder))}
    if missing := [task.name for task in tasks if task.name not in done]:
        raise EngineError(f"{len(missing)} of {len(tasks)} parts have no statistics. Run it again.")

    def parts() -> Iterator[tuple[str, PartStatistics]]:
        for task in tasks:
            data = files.read(part_name(store.version, encoder, task))
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                yield task.name, PartStatistics.from_arrays(dict(arrays))

    return reduce_parts(parts(), len(store.counts), store.means.shape[1])


def label_ranges(counts: IntArray, most: int = _ROWS) -> Sequence[LabelRange]:
    """Divide labels with these counts (C,) into ranges of at most `most` rows; a label with more is a range alone.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier.distributed.statistics.table_statistics import label_ranges
        >>> [(part.first, part.last) for part in label_ranges(np.array([3, 3, 9, 1]), most=6)]
        [(0, 2), (2, 3), (3, 4)]
    """
    ranges, first, rows = list[LabelRange](), 0, 0
    for label, count in enumerate(counts.tolist()):
        if label > first and rows + count > most:
            ranges.append(LabelRange(first, label))
            first, rows = label, 0
        rows += count
    return [*ranges, LabelRange(first, len(counts))] if len(counts) else ranges


def part_name(version: str, encoder: int, task: LabelRange) -> str:
    """Return the name of the file with the statistics of a range, in one version of a table."""
    return f"{_FOLDER}/{version}/{encoder}-{task.name}.npz"
