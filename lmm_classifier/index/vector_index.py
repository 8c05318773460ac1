"""Exact cosine search: every query is compared with every example."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.core.datatypes import Example, Neighbor
from lmm_classifier.core.errors import NoSuchLabelError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.index_location import IndexLocation, index_location
from lmm_classifier.core.labels import alike_between
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.core.protocols import Encoder, Transform, TransformFitter
from lmm_classifier.core.vectors import normalized_vectors
from lmm_classifier.embeddings.whitening import transform_from_arrays
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.formats import read_index, write_index
from lmm_classifier.index.given_vectors import contents_of_vectors
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.matching import places_of
from lmm_classifier.index.search_matrix import search_matrix
from lmm_classifier.index.storage.columns import Column, Labels
from lmm_classifier.index.storage.state import as_embeddings
from lmm_classifier.neighbors.brute_force import BruteForceSearch
from lmm_classifier.neighbors.gallery import Gallery, directions
from lmm_classifier.neighbors.similarities import GallerySimilarities

# Rows from which the search uses 8-bit candidates. At 20,000 x 1152 they halve the time, and making them (0.2 s) pays
# off after some tens of queries. At 5,000 rows there is no gain.
SEARCH_FROM = 20_000
_QUERIES = 1024  # searched at a time
_LISTED = 20  # labels in a message
_ROWS = 256  # compared with all others at a time
_NOT_PICKLED = ("examples", "_nearest_rows")  # they are made again when they are needed


class Index:
    """The examples of a dataset and their transformed vectors of one encoder, in memory or memory-mapped.

    Example:
        >>> from lmm_classifier import Index
        >>> index = Index.open("index")
        >>> list(index.label_names)
        ['gingham', 'herringbone', 'polka_dots', 'stripes']
        >>> index.vectors().shape == (len(index), index.fingerprint.dim)
        True
    """

    def __init__(
        self, contents: IndexContents, transform: Transform, matrix: Float32Array | None = None, encoder: int = 0
    ) -> None:
        """Take the examples of `contents`, and their vectors of the encoder at this place of its manifest."""
        self.manifest: Manifest = contents.manifest
        self.fingerprint: Fingerprint = contents.manifest.encoders[encoder].fingerprint
        self.transform = transform
        self.encoder = encoder  # its place in the manifest
        self.hashes: Sequence[str] = contents.hashes
        labels = Labels.of(contents.labels)
        self.label_names: Sequence[str] = labels.names
        self.label_ids: IntArray = labels.ids
        self.contents = contents
        load_matrix = contents.vectors[encoder].search_matrix if matrix is None else partial(_same, matrix)
        if load_matrix is None:
            raise ValueError("expected a matrix (N, d), or contents with a search matrix")
        self._load_matrix: Callable[[], Float32Array] = load_matrix

    @cached_property
    def examples(self) -> Sequence[Example]:
        """Return the examples in the order of the rows."""
        paths, labels = self.contents.paths, self.contents.labels
        return Column(
            len(self),
            lambda row: Example(paths[row], labels[row]),
            lambda: [Example(path, label) for path, label in zip(paths, labels)],
        )

    @cached_property
    def gallery(self) -> Gallery:
        """Return the transformed vectors. A durable index checks them on the first call."""
        return Gallery(self._load_matrix(), self.label_ids, len(self.label_names))

    @property
    def label_counts(self) -> IntArray:
        """Return the number of examples of each label, (C,)."""
        return self.gallery.counts

    @cached_property
    def _rows_of_hash(self) -> Mapping[str, list[int]]:
        rows: dict[str, list[int]] = defaultdict(list)
        for row, content_hash in enumerate(self.hashes):
            rows[content_hash].append(row)
        return rows

    @classmethod
    def from_vectors(
        cls,
        vectors: Any,
        labels: Sequence[str],
        ids: Sequence[str] | None = None,
        encoder: Encoder | Fingerprint | str = "vectors",
        transform: TransformFitter | None = None,
        *,
        groups: Sequence[str] | None = None,
    ) -> Index:
        """Make an index in memory from vectors that are there already; no image is needed.

        `save` writes it, and then all that works on stored vectors works: calibrate, audit, relabel, remove. Whatever
        needs an image of an example says that there is none. Equal vectors count as the same content.

        Args:
            vectors: (n, dim), an array of numbers or a tensor of torch. They are normalized, and compared by their
                cosine.
            labels: n labels.
            ids: n different names, such as paths or keys; they are shown as evidence. None: numbers.
            encoder: what made the vectors. With an `Encoder` or its fingerprint, images that this encoder encodes can
                be classified. A text names the model and its version; if `encoder.model` is set, it must be the same.
            transform: fits the transform in which vectors are compared; None: that of the encoder, or none.
            groups: n names of groups, such as objects, which a calibration `group_by` `column` holds out together. An
                empty one is none.

        Raises:
            VectorError: the vectors are no rows of finite numbers, or a row is zero.
            DatasetError: there is none, or labels or ids are too many, too few, or no labels or ids.

        Example:
            >>> import numpy as np
            >>> from lmm_classifier import HybridClassifier, Index, PipelineConfig
            >>> vectors = np.random.default_rng(0).normal(size=(40, 8)) + np.repeat(np.eye(2, 8) * 9, 20, axis=0)
            >>> index = Index.from_vectors(vectors, ["cat"] * 20 + ["dog"] * 20)
            >>> with HybridClassifier(PipelineConfig.preset("vectors"), index=index) as classifier:
            ...     [result.label for result in classifier.classify_vectors(vectors[[0, 39]])]
            ['cat', 'dog']
        """
        rows = normalized_vectors(vectors)
        contents, fitted = contents_of_vectors(rows, labels, ids, encoder, transform, groups)
        return cls(contents, fitted, fitted.transform(rows))

    def save(self, path: Path | str) -> None:
        """Write the index: one file if the name ends in `.npz`, a table at a URL or `.lance`, else a durable folder.

        An existing `.npz` file is replaced; IndexFileError is raised where there is another index.
        """
        write_index(index_location(path), self.contents)

    @classmethod
    def open(cls, path: Path | str, encoder: Fingerprint | None = None) -> Index:
        """Open an index, at a path or URL, with its vectors of `encoder`, or its first; IndexMismatchError without."""
        path = index_location(path)
        contents = read_index(path)
        place = 0 if encoder is None else places_of(contents.manifest, [encoder], str(path))[0]
        return cls._opened(contents, place, path)

    @classmethod
    def open_each(cls, path: Path | str) -> tuple[Index, ...]:
        """Open the index at `path` once for each of its encoders, in their order."""
        path = index_location(path)
        contents = read_index(path)
        return tuple(cls._opened(contents, place, path) for place in range(len(contents.vectors)))

    @classmethod
    def _opened(cls, contents: IndexContents, encoder: int, path: IndexLocation) -> Index:
        vectors = contents.vectors[encoder]
        transform = transform_from_arrays(contents.manifest.encoders[encoder].transform, vectors.transform_arrays)
        matrix = None if vectors.search_matrix is not None else search_matrix(contents, encoder, transform, path)
        return cls(contents, transform, matrix, encoder)

    def __repr__(self) -> str:
        return f"Index({len(self)} examples of {len(self.label_names)} labels, {self.fingerprint.backend})"

    def __len__(self) -> int:
        return len(self.hashes)

    def vectors(self) -> Float32Array:
        """Read the vectors (N, dim) as the encoder made them."""
        return np.concatenate([as_embeddings(block) for block in self.contents.vectors[self.encoder].blocks()])

    def compare(self, vectors: Float32Array, leave_out: Sequence[str | None] | None = None) -> GallerySimilarities:
        """Compare encoder vectors (n, dim) with every row; see `protocols.VectorIndex`."""
        return self.gallery.compare(self.queries(vectors), self.rows_with_hash(leave_out or ()))

    def queries(self, vectors: Float32Array) -> Float32Array:
        """Transform encoder vectors (n, dim) for the search; raise ValueError if they have another shape."""
        if vectors.ndim != 2 or vectors.shape[1] != self.fingerprint.dim:
            raise ValueError(f"expected vectors (n, {self.fingerprint.dim}), got {vectors.shape}")
        return self.transform.transform(vectors)

    def rows_with_hash(self, hashes: Sequence[str | None]) -> list[IntArray]:
        """Return the rows of each content hash, none for None."""
        rows_of_hashes = ([] if digest is None else self._rows_of_hash.get(digest, []) for digest in hashes)
        return [np.array(rows, dtype=np.int64) for rows in rows_of_hashes]

    def search(
        self, vectors: Float32Array, k: int, leave_out: Sequence[str | None] | None = None
    ) -> list[list[Neighbor]]:
        """Find the k nearest examples of each encoder vector (n, dim), nearest first."""
        queries, left_out = self.queries(vectors), self.rows_with_hash(leave_out or ())
        step = _QUERIES if len(self) >= SEARCH_FROM else self.gallery.queries_at_once
        neighbors: list[list[Neighbor]] = []
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            nearest = zip(*self._nearest(queries[part], k, left_out[part]))
            neighbors += [self.neighbors(rows[rows >= 0], cosines[rows >= 0]) for rows, cosines in nearest]
        return neighbors

    def _nearest(self, queries: Float32Array, k: int, left_out: Sequence[IntArray]) -> tuple[IntArray, Float64Array]:
        if len(self) < SEARCH_FROM:
            return self.gallery.compare(queries, left_out).nearest_each(k)
        spare = max(map(len, left_out), default=0)  # so many of the nearest rows may have to be left out
        rows, cosines = self._nearest_rows.search(directions(queries)[0], k + spare)
        for query, excluded in enumerate(left_out):
            allowed = ~np.isin(rows[query], excluded)
            rows[query] = np.concatenate([rows[query, allowed], np.full((~allowed).sum(), -1)])
            cosines[query] = np.concatenate([cosines[query, allowed], np.full((~allowed).sum(), -np.inf)])
        return rows[:, :k], cosines[:, :k]

    @cached_property
    def _nearest_rows(self) -> BruteForceSearch:
        return BruteForceSearch(self.gallery.embeddings)

    def neighbors(self, rows: IntArray, similarities: Float64Array) -> list[Neighbor]:
        """Return the examples of `rows`, each with its similarity."""
        return [Neighbor(self.examples[row], float(similarity)) for row, similarity in zip(rows, similarities)]

    def nearest_others(
        self, rows: IntArray, k: int, progress: ProgressCallback | None = None
    ) -> Iterator[list[Neighbor]]:
        """Yield the k nearest examples with other content of each of the `rows`, nearest first.

        `progress` is called between two blocks of rows.
        """
        gallery = self.gallery
        step = min(gallery.queries_at_once, _ROWS)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            identical = self.rows_with_hash([self.hashes[row] for row in part.tolist()])
            for nearest, cosines in zip(*gallery.compare(gallery.embeddings[part], identical).nearest_each(k)):
                yield self.neighbors(nearest[nearest >= 0], cosines[nearest >= 0])
            if progress is not None:
                progress(Progress("comparing findings", start + len(part), len(rows)))

    def missing_labels(self, labels: Iterable[str]) -> list[str]:
        """Return the labels without an example, ascending."""
        return sorted(set(labels) - set(self.label_names))

    def require_labels(self, labels: Iterable[str] | None) -> None:
        """Raise NoSuchLabelError naming labels without an example, and the nearest ones that have some."""
        if labels is None or not (missing := self.missing_labels(labels)):
            return
        known = ", ".join(self.label_names[:_LISTED]) + (" ..." if len(self.label_names) > _LISTED else "")
        alike = dict(alike_between(missing, self.label_names))
        near = {name: [alike[name]] if name in alike else get_close_matches(name, self.label_names) for name in missing}
        meant = [f" Is {' or '.join(map(repr, names))} meant, for {name!r}?" for name, names in near.items() if names]
        names = ", ".join(map(repr, missing))
        raise NoSuchLabelError(f"labels: {names} not in the index. Its labels are {known}.{''.join(meant)}")

    def only(self, labels: Iterable[str]) -> Index:
        """Return the index of only these labels; raises what `require_labels` raises."""
        wanted = set(labels)
        self.require_labels(wanted)
        rows = np.flatnonzero(np.array([name in wanted for name in self.label_names])[self.label_ids])
        return Index(self._part(rows, self.transform), self.transform, self.gallery.embeddings[rows])

    def without(self, rows: IntArray) -> Index:
        """Return the index as it would be without these rows, with the transform fitted to the other rows."""
        remaining = np.setdiff1d(np.arange(len(self)), rows)
        vectors = self.vectors()[remaining]
        transform = self.transform.fitter.fit(lambda: [vectors])
        return Index(self._part(remaining, transform), transform, transform.transform(vectors))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _NOT_PICKLED}

    def _part(self, rows: IntArray, transform: Transform) -> IndexContents:
        part = self.contents
        labels, paths, hashes = list(part.labels), list(part.paths), list(part.hashes)
        return replace(
            part,
            labels=[labels[row] for row in rows],
            paths=[paths[row] for row in rows],
            hashes=[hashes[row] for row in rows],
            manifest=replace(
                part.manifest, count=len(rows), encoders=part.manifest.encoders[self.encoder : self.encoder + 1]
            ),
            vectors=(EncoderVectors(transform.to_arrays(), lambda: [self.vectors()[rows]]),),
            calibration=None,
            is_part=True,
        )


def _same(matrix: Float32Array) -> Float32Array:
    return matrix
