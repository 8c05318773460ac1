"""A map of the examples of an index: examples that are alike lie near each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.discovery.landscape import even_sample
from lmm_classifier.discovery.layout import first_positions, lay_out, lay_out_again, principal_axes
from lmm_classifier.discovery.nearest_rows import nearest_others
from lmm_classifier.discovery.space import DiscoverySpace
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.gallery import directions

MOST = 50_000  # examples on a map
NEIGHBORS = 10
_FITTED = 5_000  # examples that the space is fitted to
_SHRINKAGE = 0.5  # less would put examples to their label even where it is wrong
_DIMENSIONS = 64  # in which neighbors are sought
_BLOCK = 4096


@dataclass(frozen=True)
class ExampleMap:
    """Positions of the examples of one version of an index; n examples are on the map."""

    version: int  # of the index
    stamp: str  # of the index
    examples: int  # of the index; more than n where a sample is on the map
    paths: Sequence[str]  # (n,) ids in the dataset
    hashes: Sequence[str]  # (n,) of their contents
    positions: Float32Array  # (n, 2)
    uncertainty: IntArray  # (n,) how many of the `NEIGHBORS` nearest examples have another label, in percent

    @classmethod
    def of(
        cls, indexes: Sequence[Index], former: ExampleMap | None = None, progress: ProgressCallback | None = None
    ) -> ExampleMap:
        """Make a map. Of more than `MOST` examples a sample is on it, of each label equally many as far as there are.

        Time grows with the square of the examples: about 10 s for 20,000. Memory is bounded by `MOST`.

        Args:
            indexes: one index, opened for each of its encoders.
            former: a map of another version; examples that are on it stay where they are, or close to it.
            progress: called often; it may raise `Cancelled`.
        """
        index = indexes[0]
        rows = even_sample(index.gallery.rows_of_label, index.hashes, MOST)
        vectors = map_vectors(indexes, rows)
        neighbors = nearest_others(vectors, NEIGHBORS, progress)
        paths = [index.contents.paths[row] for row in rows]
        hashes = [index.hashes[row] for row in rows]
        known, is_placed = _former_positions(former, paths, hashes)
        if is_placed.any():
            positions = lay_out_again(neighbors, vectors, known, is_placed, progress)
        else:
            positions = lay_out(neighbors, first_positions(vectors), progress)
        labels = index.label_ids[rows]
        differs = (labels[neighbors] != labels[:, None]).sum(axis=1)
        uncertainty = (100 * differs) // max(neighbors.shape[1], 1)
        contents = index.contents
        return cls(contents.version, contents.stamp, len(index), paths, hashes, positions, uncertainty)


def map_vectors(indexes: Sequence[Index], rows: IntArray) -> Float32Array:
    """Return unit vectors (n, m) of examples in the within-class metric, in few dimensions; all encoders count alike.

    Args:
        indexes: one index, opened for each of its encoders.
        rows: (n,) examples.
    """
    parts = []
    for index in indexes:
        embeddings = index.gallery.embeddings
        fitted = even_sample(index.gallery.rows_of_label, index.hashes, _FITTED)
        sample = embeddings[fitted]
        space = DiscoverySpace.of_examples(sample, index.label_ids[fitted], len(index.label_names), _SHRINKAGE)
        parts.append(_reduced(space, space.map(sample), embeddings, rows))
    return directions(np.hstack(parts))[0]


@single_threaded_blas
def _reduced(space: DiscoverySpace, sample: Float32Array, embeddings: Float32Array, rows: IntArray) -> Float32Array:
    """Return the examples (n, m) along the axes in which a sample (s, d) differs most, as unit vectors."""
    axes = principal_axes(sample, _DIMENSIONS).astype(np.float32)
    center = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    reduced = np.empty((len(rows), axes.shape[1]), np.float32)
    for start in range(0, len(rows), _BLOCK):
        mapped = space.map(embeddings[rows[start : start + _BLOCK]])
        reduced[start : start + len(mapped)] = (mapped - center) @ axes
    return directions(reduced)[0]


def _former_positions(
    former: ExampleMap | None, paths: Sequence[str], hashes: Sequence[str]
) -> tuple[Float32Array, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Return the positions (n, 2) of a former map, and whether there is one (n,): of the same content, at best path."""
    positions, is_placed = np.zeros((len(paths), 2), np.float32), np.zeros(len(paths), np.bool_)
    if former is None:
        return positions, is_placed
    by_path = {key: place for place, key in enumerate(zip(former.paths, former.hashes, strict=True))}
    by_hash = {content_hash: place for place, content_hash in enumerate(former.hashes)}
    for row, key in enumerate(zip(paths, hashes, strict=True)):
        place = by_path.get(key, by_hash.get(key[1]))
        if place is not None:
            positions[row], is_placed[row] = former.positions[place], True
    return positions, is_placed
