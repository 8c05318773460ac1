"""What the labeled images tell about unlabeled ones: the space to compare them in, and how similar one label is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.discovery.fused_space import FusedSpace
from lmm_classifier.discovery.groups import learned_cut
from lmm_classifier.index.staleness import vectors_digest
from lmm_classifier.index.vector_index import Index

_MOST = 5000  # labeled images that take part, the same number of each label as far as there are so many
_MOST_FOR_CUT = 1200
_GROWTH = 1.1  # the space is fitted anew where there are so many times more examples, or other labels


@dataclass(frozen=True)
class Landscape:
    """The space of discovery of an index, and its labeled images there."""

    space: FusedSpace
    cut: float  # mean cosine within a group
    labeled: Float32Array  # (m, d) unit vectors
    label_sums: Float64Array  # (C, d) of the unit vectors of the examples of each label; a sample stands for many
    examples: int  # of the index that the space was fitted to
    labels: Sequence[str]
    vectors: str  # names the encoders, transforms and weights that gave the vectors

    @classmethod
    def of(
        cls,
        indexes: Sequence[Index],
        weights: Sequence[float] | None = None,
        wanted: Collection[str] = (),
        former: Landscape | None = None,
    ) -> Landscape:
        """Fit to the examples of an index, or go on with the space of a former version while few examples were added.

        Args:
            indexes: one index, opened for each of its encoders that take part.
            weights: of these encoders in a fused similarity, 0 or more; by default they count alike.
            wanted: content hashes of examples that take part in any case.
            former: of another version of the index.
        """
        index = indexes[0]
        labels, by_label = tuple(index.label_names), index.gallery.rows_of_label
        embeddings = [each.gallery.embeddings for each in indexes]
        rows = even_sample(by_label, index.hashes, _MOST)
        vectors = f"{vectors_digest(index.contents)} {[each.encoder for each in indexes]} {weights}"
        is_same = former is not None and (former.labels, former.vectors) == (labels, vectors)
        if former is not None and is_same and len(index) <= _GROWTH * former.examples:
            space, cut, examples = former.space, former.cut, former.examples
        else:
            few, examples = even_sample(by_label, index.hashes, _MOST_FOR_CUT), len(index)
            label_ids, count = index.label_ids, len(labels)
            space = FusedSpace.of_examples([each[rows] for each in embeddings], label_ids[rows], count, weights)
            cut = learned_cut([each[few] for each in embeddings], label_ids[few], count, weights)
        if wanted and len(rows) < len(index):
            also = [row for each in index.rows_with_hash(sorted(wanted)) for row in each]
            rows = np.union1d(rows, np.array(also, np.int64))
        labeled = space.map([each[rows] for each in embeddings])
        sums = _label_sums(labeled, index.label_ids[rows], list(map(len, by_label)))
        return cls(space, cut, labeled, sums, examples, labels, vectors)


def _label_sums(labeled: Float32Array, label_ids: IntArray, counts: Sequence[int]) -> Float64Array:
    """Return the sums (C, d) of m unit vectors by label, as if all the examples of each label were there."""
    sums = np.zeros((len(counts), labeled.shape[1]))
    np.add.at(sums, label_ids, labeled)
    sampled = np.bincount(label_ids, minlength=len(counts))
    return np.asarray(sums * (np.array(counts) / np.maximum(sampled, 1))[:, None])


def even_sample(by_label: Sequence[IntArray], hashes: Sequence[str], most: int) -> IntArray:
    """Return at most `most` rows, ascending: of each label equally many, those with the least content hashes."""
    if sum(map(len, by_label)) <= most:
        return np.sort(np.concatenate([np.empty(0, np.int64), *by_label]))
    ranks = [rank for rows in by_label for rank in range(len(rows))]
    in_order = [row for rows in by_label for row in sorted(rows.tolist(), key=hashes.__getitem__)]
    first = sorted(range(len(in_order)), key=lambda place: (ranks[place], hashes[in_order[place]]))[:most]
    return np.sort(np.array([in_order[place] for place in first], np.int64))
