"""Find examples of the same content, and examples that are nearly the same image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import IntArray
from lmm_classifier.core.numerics import connected_components
from lmm_classifier.index.vector_index import ExactIndex

_BLOCK = 1024  # rows compared at a time


@dataclass(frozen=True, slots=True)
class Duplicates:
    """A group of examples that show the same image."""

    paths: tuple[str, ...]
    labels: tuple[str, ...]  # one per path
    exact: bool  # the files have the same bytes
    similarity: float  # lowest cosine similarity of the pairs that form the group, at most 1

    @property
    def contradict(self) -> bool:
        """Return whether the group has several labels."""
        return len(set(self.labels)) > 1


def find_duplicates(index: ExactIndex, near_duplicate: float) -> list[Duplicates]:
    """Return groups of duplicates: those with several labels first, then those of the same bytes.

    Args:
        index: the examples.
        near_duplicate: cosine similarity from which two images count as nearly the same, 0 to 1. Chains of such pairs
            form one group.
    """
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, content_hash in enumerate(index.hashes):
        rows_of[content_hash].append(row)
    exact = [_group(index, rows, True, 1.0) for rows in rows_of.values() if len(rows) > 1]
    first_rows = np.array([rows[0] for rows in rows_of.values()], np.int64)
    near = _near_groups(index, _near_pairs(index, first_rows, near_duplicate))
    return sorted([*exact, *near], key=lambda group: (not group.contradict, not group.exact, group.paths))


def _near_pairs(index: ExactIndex, rows: IntArray, near_duplicate: float) -> list[tuple[int, int, float]]:
    """Return pairs of `rows` with their cosine similarity, where it reaches `near_duplicate`."""
    embeddings = index.gallery.embeddings[rows]
    pairs: list[tuple[int, int, float]] = []
    for start in range(0, len(rows), _BLOCK):
        cosines = embeddings[start : start + _BLOCK] @ embeddings.T
        for first, second in zip(*np.nonzero(cosines >= near_duplicate)):
            if start + first < second:
                pairs.append((int(rows[start + first]), int(rows[second]), float(cosines[first, second])))
    return pairs


def _near_groups(index: ExactIndex, pairs: Sequence[tuple[int, int, float]]) -> Iterator[Duplicates]:
    """Yield the connected components of near pairs, each as one group."""
    components = connected_components(len(index), [(first, second) for first, second, _ in pairs])
    rows_of: dict[int, set[int]] = defaultdict(set)
    lowest: dict[int, float] = defaultdict(lambda: 1.0)
    for first, second, cosine in pairs:
        component = int(components[first])
        rows_of[component] |= {first, second}
        lowest[component] = min(lowest[component], cosine)
    for component, rows in rows_of.items():
        yield _group(index, sorted(rows), False, lowest[component])


def _group(index: ExactIndex, rows: Sequence[int], exact: bool, similarity: float) -> Duplicates:
    examples = [index.examples[row] for row in rows]
    paths = tuple(example.path for example in examples)
    return Duplicates(paths, tuple(example.label for example in examples), exact, similarity)
