"""Find duplicates among examples that stay in a store: of all of them, or of a sample where there are very many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.core.rows import RowBlock
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.evaluation.duplicates import (
    MOST_COMPARED,
    PARTNERS,
    Duplicates,
    chained,
    find_duplicates,
    in_order,
)
from lmm_classifier.index.backends.store_index import StoreIndex
from lmm_classifier.neighbors.near_duplicates import duplicate_cosine

_BLOCK = 256  # rows searched at a time

_Near = tuple[IntArray, Float64Array]  # ids (m, 3) of the nearest rows with other content, and their cosines


def find_stored_duplicates(
    index: StoreIndex,
    sample: IntArray,
    images: ImagesConfig,
    near_duplicate: float | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[list[Duplicates], int]:
    """Return groups of duplicates as `find_duplicates` does, and of how many rows they were searched.

    Up to 100,000 rows are read into memory and compared with each other. Of more, the rows of the sample are searched:
    for the same bytes in all rows, and for near duplicates among their three nearest rows, by the vectors alone.

    Args:
        index: the rows.
        sample: ids (n,) of the rows that are searched where there are more than 100,000.
        images: how files are read.
        near_duplicate: see `find_duplicates`.
        progress: called between two blocks of rows.
    """
    if len(index) <= MOST_COMPARED:
        return find_duplicates(index.in_memory(), images, near_duplicate, progress), len(index)
    found, near = list[Duplicates](), list[_Near]()
    for start in range(0, len(sample), _BLOCK):
        rows = index.store.rows_of_ids(sample[start : start + _BLOCK], ("vectors", "contents"))
        found += _same_bytes(index, rows)
        near.append(index.nearest_contents(rows, PARTNERS))
        if progress is not None:
            progress(Progress("comparing vectors", start + len(rows), len(sample)))
    partners, cosines = (np.concatenate(parts) for parts in zip(*near))
    groups = _near_duplicates(index, sample, partners, cosines, near_duplicate)
    return in_order([*{group.content_hashes: group for group in found}.values(), *groups]), len(sample)


def _same_bytes(index: StoreIndex, rows: RowBlock) -> Iterator[Duplicates]:
    """Yield a group for each content of these rows that several examples have."""
    same = index.store.rows_of_contents(list(rows.contents or ()), ("contents", "all_paths"))
    examples: dict[str, list[tuple[str, str]]] = {}
    for content, label, paths in zip(same.contents or (), same.label_ids.tolist(), same.all_paths or ()):
        examples.setdefault(content, []).extend((path, index.label_names[label]) for path in paths)
    for content, members in examples.items():
        if len(members) > 1:
            paths, labels = zip(*sorted(members))
            yield Duplicates(paths, labels, True, 1.0, "bytes", (content,) * len(members))


def _near_duplicates(
    index: StoreIndex, sample: IntArray, partners: IntArray, cosines: Float64Array, near_duplicate: float | None
) -> Iterator[Duplicates]:
    """Yield groups of rows whose cosine is higher than chance explains, or reaches `near_duplicate`."""
    itself = np.arange(len(sample))
    own = np.stack([itself, itself], axis=1)  # one number per row: how near its nearest is
    limit = duplicate_cosine(own, cosines[:, 0]) if near_duplicate is None else near_duplicate
    rows, places = np.nonzero((partners >= 0) & (cosines >= limit))
    first, second = sample[rows], partners[rows, places]
    similar = np.minimum(cosines[rows, places], 1.0)
    pairs = list(zip(first.tolist(), second.tolist(), similar.tolist()))
    described = _described(index, np.unique(np.concatenate([first, second])))
    for members, lowest in chained(pairs):
        yield _group([described[row] for row in members], lowest)


def _described(index: StoreIndex, ids: IntArray) -> dict[int, tuple[str, str, str]]:
    """Return path, label and content of rows, by id."""
    examples = zip(ids.tolist(), index.described(ids), strict=True)
    return {row: (example.path, example.label, content) for row, (example, content) in examples}


def _group(members: Sequence[tuple[str, str, str]], lowest: float) -> Duplicates:
    """Return a group of near duplicates: of rows with the same content, the first."""
    one_each = {content: (path, label, content) for path, label, content in sorted(members, reverse=True)}
    paths, labels, contents = zip(*sorted(one_each.values()))
    return Duplicates(paths, labels, False, lowest, "vectors", contents)
