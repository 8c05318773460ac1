"""Find examples of the same content, and examples that are nearly the same image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import IntArray
from lmm_classifier.core.numerics import connected_components
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.near_copies import CopyFinder
from lmm_classifier.index.dismissals import Dismissal
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.near_duplicates import duplicate_cosine, nearest_pairs

MOST_COMPARED = 100_000  # images whose pixels are compared: their thumbnails take 4 kB each
PARTNERS = 3  # nearest examples of each that may be copies
_BLOCK = 1024  # rows compared at a time

_Pair = tuple[int, int, float]  # two rows, and the cosine of their vectors


@dataclass(frozen=True, slots=True)
class Duplicates:
    """A group of examples that show the same image."""

    paths: tuple[str, ...]
    labels: tuple[str, ...]  # one per path
    exact: bool  # the files have the same bytes
    similarity: float  # lowest cosine similarity of the pairs that form the group, at most 1
    compared: str = "bytes"  # what showed it: `bytes`, `pixels`, or `vectors` where an image could not be read
    content_hashes: tuple[str, ...] = ()  # SHA-256 of the image files, one per path

    @property
    def contradict(self) -> bool:
        """Return whether the group has several labels."""
        return len(set(self.labels)) > 1

    @property
    def dismissal(self) -> Dismissal:
        """Return what `IndexEditor.dismiss` takes where all of them may stay as they are."""
        return Dismissal.of("duplicates", zip(self.content_hashes, self.labels, strict=True))


def find_duplicates(
    index: Index,
    images: ImagesConfig,
    near_duplicate: float | None = None,
    progress: ProgressCallback | None = None,
) -> list[Duplicates]:
    """Return groups of duplicates: those with several labels first, then those of the same bytes.

    Chains of pairs form one group. The pixels decide which examples are near duplicates: images saved again, resized,
    mirrored or cropped a little. Images that cannot be read are compared by their vectors alone. Of more than 100,000
    examples the vectors alone are compared, and of more than 250,000 pairs of images those with the most similar
    outlines. Every limit follows from the dataset.

    Args:
        index: the examples.
        images: how files are read.
        near_duplicate: cosine similarity from which two images are near duplicates, 0 to 1, whatever their pixels; no
            file is read then.
        progress: called after each file, and between two blocks of pairs.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, content_hash in enumerate(index.hashes):
        rows_of[content_hash].append(row)
    exact = [_group(index, rows, "bytes", 1.0) for rows in rows_of.values() if len(rows) > 1]
    rows = np.array([rows[0] for rows in rows_of.values()], np.int64)
    if near_duplicate is not None:
        near = _groups(index, _pairs_above(index, rows, near_duplicate), "vectors")
    else:
        near = _groups_of_copies(index, rows, images, progress)
    return in_order([*exact, *near])


def in_order(groups: Iterable[Duplicates]) -> list[Duplicates]:
    """Return groups with several labels first, then those of the same bytes."""
    return sorted(groups, key=lambda group: (not group.contradict, not group.exact, group.paths))


def _groups_of_copies(
    index: Index, rows: IntArray, images: ImagesConfig, progress: ProgressCallback | None
) -> Iterator[Duplicates]:
    embeddings = index.gallery.embeddings[rows]
    nearest, cosines = nearest_pairs(embeddings, count=PARTNERS, progress=progress)
    unreadable = np.ones(len(rows), bool)
    if len(rows) <= MOST_COMPARED and index.manifest.has_images:
        files = [index.contents.file_of(index.examples[row].path) for row in rows]
        finder = CopyFinder(files, images.limits, images.readers, progress)
        pairs = np.unique(np.concatenate([nearest, finder.candidates()]), axis=0)
        copies = [(pair.first, pair.second) for pair in finder.copies(pairs)]
        yield from _groups(index, [_pair(index, rows[first], rows[second]) for first, second in copies], "pixels")
        unreadable = ~finder.readable
    near = (cosines >= duplicate_cosine(nearest, cosines)) & unreadable[nearest].any(axis=1)
    yield from _groups(index, [_pair(index, rows[first], rows[second]) for first, second in nearest[near]], "vectors")


def _pair(index: Index, first: int, second: int) -> _Pair:
    embeddings = index.gallery.embeddings
    return int(first), int(second), min(float(embeddings[first] @ embeddings[second]), 1.0)


def _pairs_above(index: Index, rows: IntArray, near_duplicate: float) -> list[_Pair]:
    """Return pairs of `rows` with their cosine similarity, where it reaches `near_duplicate`."""
    embeddings = index.gallery.embeddings[rows]
    pairs: list[_Pair] = []
    for start in range(0, len(rows), _BLOCK):
        cosines = embeddings[start : start + _BLOCK] @ embeddings.T
        for first, second in zip(*np.nonzero(cosines >= near_duplicate)):
            if start + first < second:
                pairs.append((int(rows[start + first]), int(rows[second]), float(cosines[first, second])))
    return pairs


def _groups(index: Index, pairs: Sequence[_Pair], compared: str) -> Iterator[Duplicates]:
    for rows, lowest in chained(pairs):
        yield _group(index, rows, compared, lowest)


def chained(pairs: Sequence[_Pair]) -> Iterator[tuple[list[int], float]]:
    """Yield the rows of each connected component of near pairs, ascending, and the lowest cosine of its pairs."""
    rows = np.unique([row for first, second, _ in pairs for row in (first, second)]).tolist()
    place_of = {row: place for place, row in enumerate(rows)}
    components = connected_components(len(rows), [(place_of[first], place_of[second]) for first, second, _ in pairs])
    rows_of: dict[int, set[int]] = defaultdict(set)
    lowest: dict[int, float] = defaultdict(lambda: 1.0)
    for first, second, cosine in pairs:
        component = int(components[place_of[first]])
        rows_of[component] |= {first, second}
        lowest[component] = min(lowest[component], cosine)
    for component, members in rows_of.items():
        yield sorted(members), lowest[component]


def _group(index: Index, rows: Sequence[int], compared: str, similarity: float) -> Duplicates:
    examples = [index.examples[row] for row in rows]
    paths, labels = tuple(example.path for example in examples), tuple(example.label for example in examples)
    hashes = tuple(index.hashes[row] for row in rows)
    return Duplicates(paths, labels, compared == "bytes", similarity, compared, hashes)
