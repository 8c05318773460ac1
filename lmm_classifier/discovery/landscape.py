"""What the labeled images tell about unlabeled ones: the space to compare them in, and how similar one label is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.discovery.groups import learned_cut
from lmm_classifier.discovery.space import DiscoverySpace
from lmm_classifier.index.staleness import vectors_digest
from lmm_classifier.index.vector_index import Index

_MOST = 5000  # labeled images that take part, the same number of each label as far as there are so many
_MOST_FOR_CUT = 1200
_GROWTH = 1.1  # the space is fitted anew where there are so many times more examples, or other labels


@dataclass(frozen=True)
class Landscape:
    """The space of discovery of an index, and its labeled images there."""

    space: DiscoverySpace
    cut: float  # mean cosine within a group
    labeled: Float32Array  # (m, d) unit vectors
    examples: int  # of the index that the space was fitted to
    labels: Sequence[str]
    vectors: str  # digest of the encoders and transforms that gave the vectors

    @classmethod
    def of(cls, index: Index, wanted: Collection[str] = (), former: Landscape | None = None) -> Landscape:
        """Fit to the examples of an index, or go on with the space of a former version while few examples were added.

        Args:
            index: the examples.
            wanted: content hashes of examples that take part in any case.
            former: of another version of the index.
        """
        gallery, labels = index.gallery, tuple(index.label_names)
        by_label = gallery.rows_of_label
        rows = even_sample(by_label, index.hashes, _MOST)
        vectors = vectors_digest(index.contents)
        is_same = former is not None and (former.labels, former.vectors) == (labels, vectors)
        if former is not None and is_same and len(index) <= _GROWTH * former.examples:
            space, cut, examples = former.space, former.cut, former.examples
        else:
            few = even_sample(by_label, index.hashes, _MOST_FOR_CUT)
            space = DiscoverySpace.of_examples(gallery.embeddings[rows], index.label_ids[rows], len(labels))
            cut, examples = learned_cut(gallery.embeddings[few], index.label_ids[few], len(labels)), len(index)
        if wanted and len(rows) < len(index):
            also = [row for each in index.rows_with_hash(sorted(wanted)) for row in each]
            rows = np.union1d(rows, np.array(also, np.int64))
        return cls(space, cut, space.map(gallery.embeddings[rows]), examples, labels, vectors)


def even_sample(by_label: Sequence[IntArray], hashes: Sequence[str], most: int) -> IntArray:
    """Return at most `most` rows, ascending: of each label equally many, those with the least content hashes."""
    if sum(map(len, by_label)) <= most:
        return np.sort(np.concatenate([np.empty(0, np.int64), *by_label]))
    ranks = [rank for rows in by_label for rank in range(len(rows))]
    in_order = [row for rows in by_label for row in sorted(rows.tolist(), key=hashes.__getitem__)]
    first = sorted(range(len(in_order)), key=lambda place: (ranks[place], hashes[in_order[place]]))[:most]
    return np.sort(np.array([in_order[place] for place in first], np.int64))
