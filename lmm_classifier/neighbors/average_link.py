"""Average-link clustering of unit vectors: the two groups whose members are most similar on average become one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.core.numerics import connected_components


@dataclass(frozen=True)
class GroupTree:
    """Which groups become one, and at which mean similarity; n rows, m merges."""

    count: int  # n
    pairs: IntArray  # (m, 2) one row of each of the two groups
    similarities: Float64Array  # (m,) mean cosine between them

    def cut(self, least: float) -> IntArray:
        """Return the group of each row (n,): rows are together where the mean cosine is at least `least`."""
        together = self.pairs[self.similarities >= least]
        return connected_components(self.count, map(tuple, together.tolist()))

    def cut_into(self, groups: int) -> IntArray:
        """Return the group of each row (n,) of a number of groups: the most similar ones are joined first.

        Merges of equal similarity are joined in their order, so that cuts into fewer groups contain those into more.
        """
        order = np.argsort(-self.similarities, kind="stable")[: max(self.count - groups, 0)]
        return connected_components(self.count, map(tuple, self.pairs[order].tolist()))


@single_threaded_blas
def average_link(embeddings: Float32Array) -> GroupTree:
    """Build the tree of n unit vectors (n, d); time and memory grow with n squared (32 MB for 2,000).

    It follows chains of nearest groups (Murtagh, 1983, "A survey of recent advances in hierarchical clustering
    algorithms", The Computer Journal 26(4)), which gives the same tree as always joining the best pair.
    """
    count = len(embeddings)
    sums = (embeddings @ embeddings.T).astype(np.float64)  # of the similarities between two groups
    np.fill_diagonal(sums, -np.inf)
    sizes, alive = np.ones(count), np.ones(count, np.bool_)
    pairs, similarities, chain = list[tuple[int, int]](), list[float](), list[int]()
    while len(pairs) < count - 1:
        if not chain:
            chain.append(int(alive.argmax()))
        last = chain[-1]
        means = np.where(alive, sums[last] / (sizes[last] * sizes), -np.inf)
        means[last] = -np.inf
        best = int(means.argmax())
        # of equal ones the former in the chain, so that a chain ends
        if len(chain) > 1 and means[chain[-2]] >= means[best]:
            best = chain[-2]
        if len(chain) < 2 or best != chain[-2]:
            chain.append(best)
            continue
        del chain[-2:]
        first, second = min(last, best), max(last, best)
        pairs.append((first, second))
        similarities.append(float(means[best]))
        sums[first] += sums[second]
        sums[:, first] = sums[first]
        sizes[first] += sizes[second]
        alive[second] = False
    return GroupTree(count, np.array(pairs, np.int64).reshape(-1, 2), np.array(similarities))
