"""Proposes new labels: seeds where images are many and new, which then compete with the known labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.errors import VectorError
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.discovery.cover import cover, novelty, shuffled
from lmm_classifier.discovery.groups import find_groups
from lmm_classifier.discovery.nearest_rows import nearest_of
from lmm_classifier.discovery.proposals.competition import compete
from lmm_classifier.neighbors.gallery import directions
from lmm_classifier.neighbors.novelty import keep_known_threshold

FEWEST = 5  # images of a group; fewer are no proposal
KNOWN, REMAINDER = -1, -2  # instead of the number of a group
_KEEP_KNOWN = 0.95  # fraction of the known images above the threshold below which groups are counted
_NEIGHBORS = 6  # images that make a seed, itself included
_USUAL = 0.5  # a member whose p-value is larger is no new image
_BY_CHANCE = 1 - _USUAL / 2  # mean of 1 - p among images of a known label that are not larger


@dataclass(frozen=True)
class KnownLabels:
    """What the examples of an index tell of the known labels, in the space of discovery."""

    sums: Float64Array  # (C, d) of the unit vectors of the examples
    cut: float  # mean cosine within a label
    held_out: Float64Array  # (N,) ascending: familiarity of the examples, each held out


@dataclass(frozen=True)
class Proposals:
    """Where n images belong: to a proposed group, to a known label, or to neither."""

    groups: IntArray  # (n,) number of the group, newest first; `KNOWN` or `REMAINDER` for the others
    label_ids: IntArray  # (n,) the nearest known label; -1 where there is none
    centers: Float32Array  # (K, d) unit vectors of the groups
    group_labels: IntArray  # (K,) the known label that is nearest to the center of a group; -1 where there is none
    similarities: Float64Array  # (K,) cosine of the two centers
    seeds: IntArray  # (K,) the image from which a group grew
    about: int  # estimated number of new labels

    def members(self, group: int) -> IntArray:
        """Return the images of a group, ascending."""
        return np.flatnonzero(self.groups == group)

    def spread(self, rows: IntArray, content_of: IntArray) -> Proposals:
        """Return the same for N images, of which n at `rows` (n,) took part; each stands for its copies (N,)."""
        return replace(
            self, groups=self.groups[content_of], label_ids=self.label_ids[content_of], seeds=rows[self.seeds]
        )


@single_threaded_blas
def propose(
    embeddings: Float32Array,
    familiarity: Float64Array,
    names: Sequence[str],
    known: KnownLabels,
    groups: int | None = None,
) -> Proposals:
    """Propose groups of n images that no known label explains.

    Seeds are images that stand for much that is new, by `cover` with the weights of `novelty`. From each a group grows
    by soft k-means, in which the known labels compete. So a group also finds those of its images that look familiar.
    The number of seeds is that of the groups of `FEWEST` images or more among the images that the index calls unknown
    where it keeps 95% of the known ones.

    A group is the newer, the more images it has and the less familiar they are: its number follows from the sum over
    its images of 1 - p, less what images of a known label would have. So a new label of few images comes before the
    rare images of a known label of very many.

    The result depends on the set of images alone, not on their order.

    Args:
        embeddings: (n, d) unit vectors in the space of discovery.
        familiarity: (n,) higher is more familiar.
        names: n different texts.
        known: the known labels in the same space.
        groups: number of seeds; by default it is estimated.

    Raises:
        VectorError: a number is NaN or infinite.
    """
    if not (np.isfinite(embeddings).all() and np.isfinite(familiarity).all()):
        raise VectorError("Expected finite numbers in vectors and familiarity, got NaN or infinity. Leave them out.")
    order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    ordered = _propose(embeddings[order], familiarity[order], [names[row] for row in order.tolist()], known, groups)
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return Proposals(
        ordered.groups[places],
        ordered.label_ids[places],
        ordered.centers,
        ordered.group_labels,
        ordered.similarities,
        order[ordered.seeds],
        ordered.about,
    )


def _propose(
    embeddings: Float32Array, familiarity: Float64Array, names: Sequence[str], known: KnownLabels, wanted: int | None
) -> Proposals:
    about = estimated_groups(embeddings, familiarity, names, known) if wanted is None else wanted
    weights = novelty(familiarity, known.held_out)
    picks = cover(embeddings, weights, names, about)
    seeds = picks.rows[picks.gains > 0]
    found = compete(embeddings, known.sums, _seed_vectors(embeddings, seeds, weights))
    labels = len(known.sums)
    groups = np.where(found.winners < labels, KNOWN, found.winners - labels)
    newness = np.sqrt(weights)
    usual = newness < 1 - _USUAL
    groups[usual & (groups >= 0) & (found.nearest_labels >= 0)] = KNOWN
    proposed = groups >= 0
    sizes = np.bincount(groups[proposed], minlength=len(seeds))
    evidence = np.bincount(groups[proposed], newness[proposed] - _BY_CHANCE, minlength=len(seeds))
    kept = np.flatnonzero(sizes >= FEWEST)
    kept = kept[np.lexsort([seeds[kept], -evidence[kept]])]
    number = np.full(len(seeds) + 2, REMAINDER)  # its last places stand for the two negative numbers
    number[kept] = np.arange(len(kept))
    number[KNOWN] = KNOWN
    centers = found.centers[labels + kept]
    group_labels, similarities = _nearest_labels(centers, found.centers[:labels])
    return Proposals(number[groups], found.nearest_labels, centers, group_labels, similarities, seeds[kept], about)


def estimated_groups(
    embeddings: Float32Array, familiarity: Float64Array, names: Sequence[str], known: KnownLabels
) -> int:
    """Return how many groups of `FEWEST` images or more are among those below the threshold of familiarity."""
    if not len(known.held_out):
        return 0
    below = np.flatnonzero(familiarity < keep_known_threshold(known.held_out, _KEEP_KNOWN))
    if not len(below):
        return 0
    groups = find_groups(embeddings[below], shuffled([names[row] for row in below.tolist()]), known.cut)
    return int((np.bincount(groups) >= FEWEST).sum())


def _seed_vectors(embeddings: Float32Array, seeds: IntArray, weights: Float64Array) -> Float32Array:
    """Return for each seed the direction (K, d) of its nearest images, weighted by how new they are."""
    nearest = nearest_of(embeddings[seeds], embeddings, _NEIGHBORS)  # (K, 6)
    nearest.sort(axis=1)
    newness = np.sqrt(weights)[nearest].astype(np.float32)
    return directions((newness[:, :, None] * embeddings[nearest]).sum(axis=1))[0]


def _nearest_labels(centers: Float32Array, label_centers: Float32Array) -> tuple[IntArray, Float64Array]:
    if not len(label_centers) or not len(centers):
        return np.full(len(centers), -1, np.int64), np.zeros(len(centers))
    cosines = np.asarray(centers @ label_centers.T, np.float64)
    best = cosines.argmax(axis=1)
    return best, cosines[np.arange(len(best)), best]
