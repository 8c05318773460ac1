"""Unlabeled images as discovery needs them: their names, their vectors, and what an index says of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import DatasetError, VectorError
from lmm_classifier.core.progress import Progress, ProgressCallback, Skipped
from lmm_classifier.core.vectors import vectors_of_each
from lmm_classifier.data.image_folder import nothing_found
from lmm_classifier.data.places import Place
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import find_in_source
from lmm_classifier.discovery.cover import drawn_number
from lmm_classifier.discovery.landscape import Landscape
from lmm_classifier.discovery.votes import Votes, vote
from lmm_classifier.neighbors.gallery import directions
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.pipeline.flow import Flow
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.stages.encoded_files import encoded_files

MOST = 100_000  # images that take part
_AT_ONCE = 2048  # vectors that are voted on at a time


@dataclass(frozen=True)
class UnlabeledImages:
    """Images without a label, and what an index says of them; n images, in the order of their names.

    Of more than `MOST` images those take part whose names have the least hashes: it looks like a random sample, and is
    always the same. Memory is that of the vectors, 4 bytes a number: 512 MB for 100,000 images and 1,280 numbers.

    Example:
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, UnlabeledImages, discover, suggest
        >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
        ...     images = UnlabeledImages.find("new", classifier)  # encoded once, used twice
        ...     discovery, suggestions = discover(images, classifier), suggest(images, classifier)
        >>> discovery.images == suggestions.images == len(images)
        True
    """

    flow: Flow  # the version of the index that voted
    names: Sequence[str]  # n different ones
    hashes: Sequence[str]  # (n,) of their contents; empty where only vectors are known
    places: Sequence[Place]  # n; none where only vectors are known
    votes: Votes
    embeddings: tuple[Float32Array, ...]  # (n, d) normalized, of each encoder of `encoder_places`
    found: int  # images that were there; more than n where a sample takes part, or where some were left out
    labeled: int = 0  # of these, images that the index holds already
    sampled_out: int = 0  # of these, images that are not in the sample
    skipped: Sequence[Skipped] = ()  # files that cannot be read, and what a search passed over

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def landscape(self) -> Landscape:
        """Return the space of discovery of the index, and what it tells there."""
        return landscape_of(self.flow)

    @cached_property
    def mapped(self) -> Float32Array:
        """Return the unit vectors (n, d) of the images in that space."""
        return self.landscape.space.map(self.embeddings)

    @classmethod
    def find(
        cls,
        source: DatasetSpec | Path | str,
        classifier: HybridClassifier,
        progress: ProgressCallback | None = None,
        most: int = MOST,
    ) -> UnlabeledImages:
        """Find the images of a source, labeled there or not, and encode them; see `of`.

        Raises:
            DatasetError: the source cannot be read, or holds no image.
        """
        spec = DatasetSpec.of(source)
        found = find_in_source(spec, classifier.config.images)
        if not found.places:
            raise DatasetError(nothing_found(f"No image in {spec.source}", found.skipped, "expected image files"))
        return cls.of(found.places, classifier, progress, most, found.skipped)

    @classmethod
    def of(
        cls,
        places: Iterable[Place],
        classifier: HybridClassifier,
        progress: ProgressCallback | None = None,
        most: int = MOST,
        skipped: Sequence[Skipped] = (),
    ) -> UnlabeledImages:
        """Encode image files and vote on them. Those that the index holds already are left out.

        Args:
            places: image files, each once.
            classifier: knows the index and the encoders.
            progress: called after each batch.
            most: images that take part.
            skipped: files that a search passed over.
        """
        by_name = {str(place): place for place in places}
        chosen = sample_of(list(by_name), most)
        flow = classifier._current_flow()
        first, later = flow.retriever.encoder_places
        parts, failed, done = list[_Part](), list[Skipped](), 0
        files = [by_name[name] for name in chosen]
        for batch, encoded in encoded_files(files, lambda: classifier.encoders, first, later, classifier.config):
            failed += [file.skipped for file in batch.failed]
            names = [str(image.path) for image in encoded.images]
            hashes = [image.content_hash for image in encoded.images]
            parts.append(_Part.of(flow, names, hashes, encoded.vectors))
            done += len(batch.encoded) + len(batch.failed)
            if progress is not None:
                progress(Progress("encoding", done, len(files), len(failed)))
        whole = _Part.joined(flow, parts)
        held = frozenset(flow.index.hashes)
        is_new = np.array([digest not in held for digest in whole.hashes], np.bool_)
        part = whole.at(sorted(np.flatnonzero(is_new).tolist(), key=whole.names.__getitem__))
        return cls(
            flow,
            part.names,
            part.hashes,
            [by_name[name] for name in part.names],
            part.votes,
            part.embeddings,
            len(by_name),
            len(whole.names) - len(part.names),
            len(by_name) - len(chosen),
            (*skipped, *failed),
        )

    @classmethod
    def of_vectors(
        cls, names: Sequence[str], vectors: Any, classifier: HybridClassifier, most: int = MOST
    ) -> UnlabeledImages:
        """Vote on images by their vectors alone.

        Args:
            names: n different ones.
            vectors: (n, dim) of the encoder of the index; of several, a list with the array of each.
            classifier: knows the index; its encoders are not asked.
            most: images that take part.

        Raises:
            VectorError: the vectors are no such rows of finite numbers, or not one for each of n different names.
        """
        flow = classifier._current_flow()
        given = vectors_of_each(vectors, [encoder.index.fingerprint.dim for encoder in flow.retriever.encoders])
        if len(set(names)) != len(names) or len(given[0]) != len(names):
            raise VectorError(
                f"Expected a vector for each of {len(set(names))} different names, got {len(given[0])} vectors and "
                f"{len(names)} names. Give each image a name of its own."
            )
        row_of = {name: row for row, name in enumerate(names)}
        chosen = sorted(sample_of(names, most))
        rows = np.array([row_of[name] for name in chosen], np.int64)
        parts = []
        for start in range(0, len(chosen), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            queries = QueryVectors.given(*(each[rows[part]] for each in given))
            parts.append(_Part.of(flow, chosen[part], [""] * len(chosen[part]), queries))
        whole = _Part.joined(flow, parts)
        left = len(names) - len(chosen)
        return cls(flow, whole.names, whole.hashes, (), whole.votes, whole.embeddings, len(names), sampled_out=left)


def encoder_places(flow: Flow) -> tuple[int, ...]:
    """Return the places of the encoders whose similarities are fused: those that are asked about every image."""
    return flow.retriever.calibration.cascade.stages[0].encoders


def landscape_of(flow: Flow, wanted: Collection[str] = (), former: Landscape | None = None) -> Landscape:
    """Return the space of discovery of a version of an index; `wanted` and `former` are those of `Landscape.of`."""
    stage = flow.retriever.calibration.cascade.stages[0]
    indexes = [flow.retriever.encoders[place].index for place in stage.encoders]
    return Landscape.of(indexes, stage.fusion.weights.tolist(), wanted, former)


@dataclass(frozen=True)
class _Part:
    names: list[str]
    hashes: list[str]
    votes: Votes
    embeddings: tuple[Float32Array, ...]

    @classmethod
    def of(cls, flow: Flow, names: Sequence[str], hashes: Sequence[str], vectors: QueryVectors) -> _Part:
        rows = np.arange(len(names))
        embeddings = []
        for place in encoder_places(flow):
            index = flow.retriever.encoders[place].index
            embeddings.append(directions(index.queries(vectors.of(place, rows)[0]))[0])
        return cls(list(names), list(hashes), vote(flow, vectors), tuple(embeddings))

    @classmethod
    def joined(cls, flow: Flow, parts: Sequence[_Part]) -> _Part:
        empty = [flow.retriever.encoders[place].index.gallery.embeddings[:0] for place in encoder_places(flow)]
        each = zip(empty, *(part.embeddings for part in parts))
        return cls(
            [name for part in parts for name in part.names],
            [digest for part in parts for digest in part.hashes],
            Votes.joined([Votes.nothing(flow), *(part.votes for part in parts)]),
            tuple(np.concatenate(rows) for rows in each),
        )

    def at(self, rows: Sequence[int]) -> _Part:
        return _Part(
            [self.names[row] for row in rows],
            [self.hashes[row] for row in rows],
            self.votes.at(rows),
            tuple(each[np.array(rows, np.int64)] for each in self.embeddings),
        )


def sample_of(names: Sequence[str], most: int) -> Sequence[str]:
    """Return at most `most` names, those with the least hashes."""
    return names if len(names) <= most else sorted(names, key=drawn_number)[:most]
