"""Images that an index holds already, or of which it holds a near copy: no measurement may stand on them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageOps

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import BoolArray, Float32Array, IntArray
from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.core.numerics import connected_components
from lmm_classifier.core.progress import ProgressCallback
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.images import DecodedImage, read_images
from lmm_classifier.data.near_copies import CopyFinder
from lmm_classifier.data.places import Place
from lmm_classifier.embeddings.encode_images import encode_images
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.near_duplicates import duplicate_cosine, nearest_pairs
from lmm_classifier.pipeline.index_encoder import encode_readable, open_encoders_of

_PARTNERS = 10  # nearest examples of a new image that may be its copies
_TRIED = 32  # new images that tell whether the encoder sees mirrored copies
_SEEN = 0.95  # fraction of them that must find their mirror image
_SAMPLE = 4000  # examples that tell how similar the nearest one usually is
_BATCH = 64


@dataclass(frozen=True)
class UnseenImages:
    """New images of which the index holds no copy, encoded."""

    vectors: tuple[Float32Array, ...]  # (n, dim), of each encoder
    positions: list[int]  # of the n images in the list of files
    notes: tuple[str, ...]  # how many were left out, in words


def encode_unseen(
    indexes: Sequence[Index],
    config: PipelineConfig,
    path: IndexLocation,
    files: Sequence[Place],
    source: str,
    progress: ProgressCallback | None = None,
) -> UnseenImages:
    """Encode the readable ones of some files, and leave out those of which the index at `path` holds a copy.

    Of several copies of one new image the first stays: they are no independent images.

    Args:
        indexes: the examples, with the vectors of each encoder. Copies are found by the first.
        config: names the encoders, which must be those of the index.
        path: of the index, for messages.
        files: the new images.
        source: where they come from, for messages.
        progress: called after each batch.

    Raises:
        CalibrationError: if no image can be read, or none remains.
    """
    index, encoders = indexes[0], open_encoders_of(indexes, config, path)
    each, encoded = encode_readable(encoders, files, config, progress)
    vectors, encoder = each[0], encoders[0]
    if not encoded:
        raise CalibrationError(f"{source} holds no readable image")
    hashes = [file.content_hash for file in encoded]
    pairs, _ = nearest_pairs(index.queries(vectors), index.gallery.embeddings, _PARTNERS)
    identical = is_in_index(index, hashes)
    near = is_near_copy(index, [file.path for file in encoded], pairs, encoder, config.images, progress) & ~identical
    unseen = np.flatnonzero(~identical & ~near)
    notes = left_out_notes(source, int(identical.sum()), int(near.sum()))
    if not len(unseen):
        raise CalibrationError(f"{notes[0]}, and none remains. Give images that the index does not hold.")
    copies = _repeats(
        index.queries(vectors[unseen]),
        [encoded[row].path for row in unseen],
        [hashes[row] for row in unseen],
        config.images,
        progress,
    )
    if copies.any():
        notes.append(f"{source}: {int(copies.sum())} images are left out, because they are copies of others in it")
    unseen = unseen[~copies]
    return UnseenImages(
        tuple(of_encoder[unseen] for of_encoder in each), [encoded[row].position for row in unseen], tuple(notes)
    )


def _repeats(
    queries: Float32Array,
    files: Sequence[Place],
    hashes: Sequence[str],
    images: ImagesConfig,
    progress: ProgressCallback | None,
) -> BoolArray:
    """Return which of n images, with their queries (n, d), are copies or near copies of earlier ones, (n,)."""
    first: dict[str, int] = {}
    identical = [(first.setdefault(content_hash, number), number) for number, content_hash in enumerate(hashes)]
    different = np.array(sorted(first.values()), np.int64)
    finder = CopyFinder([files[number] for number in different], images.limits, images.readers, progress)
    near = [
        (int(different[pair.first]), int(different[pair.second]))
        for pair in finder.copies(nearest_pairs(queries[different], count=_PARTNERS)[0])
    ]
    components = connected_components(len(files), [*identical, *near])
    return np.asarray(components != np.arange(len(files)))


def left_out_notes(source: str, identical: int, near: int) -> list[str]:
    """Say in words how many images were left out; nothing where none was."""
    if not identical + near:
        return []
    return [
        f"{source}: {identical + near} images are left out, because the index holds them ({identical}) or near copies "
        f"of them ({near})"
    ]


def is_in_index(index: Index, hashes: Sequence[str | None]) -> BoolArray:
    """Return whether the index holds images of these content hashes, (n,)."""
    return np.array([len(rows) > 0 for rows in index.rows_with_hash(hashes)], bool)


def is_near_copy(
    index: Index,
    files: Sequence[Place],
    candidates: IntArray,
    encoder: Encoder,
    images: ImagesConfig,
    progress: ProgressCallback | None = None,
) -> BoolArray:
    """Return whether each of n new images is a near copy of an example, (n,).

    Candidates are verified on pixels: images saved again, resized, cropped a little, or mirrored. Where the image of an
    example cannot be read, the vectors alone decide.

    Args:
        index: the examples.
        files: the n new images.
        candidates: pairs (m, 2) of a new image and of a row of the index that is similar to it.
        encoder: finds examples that are similar to the mirrored images, where mirroring changes its vectors.
        images: how files are read.
        progress: called after each file that is compared.
    """
    pairs = np.concatenate([candidates, _mirrored_candidates(index, files, encoder, images)])
    rows = np.unique(pairs[:, 1])
    examples = [index.contents.file_of(index.examples[int(row)].path) for row in rows]
    finder = CopyFinder([*files, *examples], images.limits, images.readers, progress)
    compared = np.stack([pairs[:, 0], len(files) + np.searchsorted(rows, pairs[:, 1])], axis=1)
    compared = np.unique(compared, axis=0)
    found = np.zeros(len(files), bool)
    found[[pair.first for pair in finder.copies(compared)]] = True
    blind = compared[~finder.readable[compared[:, 1]]]
    if len(blind):
        found |= _similar(index, files, blind[:, 0], rows[blind[:, 1] - len(files)], encoder, images)
    return found


def is_near_copy_of_neighbor(
    contents: IndexContents,
    files: Sequence[Place],
    neighbors: Collection[tuple[int, str]],
    images: ImagesConfig,
    progress: ProgressCallback | None = None,
) -> BoolArray:
    """Return whether each of n new images is a near copy of one of its neighbors, (n,), where these stay in a store.

    Mirrored images are not searched, and an example whose image cannot be read is no copy.

    Args:
        contents: know the images of the examples.
        files: the n new images.
        neighbors: pairs of a new image, by its number, and the id of an example that is similar to it.
        images: how files are read.
        progress: called after each file that is compared.
    """
    found, ids = np.zeros(len(files), bool), sorted({example for _, example in neighbors})
    place = {example: len(files) + number for number, example in enumerate(ids)}
    finder = CopyFinder([*files, *map(contents.file_of, ids)], images.limits, images.readers, progress)
    pairs = sorted((number, place[example]) for number, example in set(neighbors))
    found[[pair.first for pair in finder.copies(np.array(pairs, np.int64).reshape(-1, 2))]] = True
    return found


def _similar(
    index: Index, files: Sequence[Place], new: IntArray, rows: IntArray, encoder: Encoder, images: ImagesConfig
) -> BoolArray:
    """Return which new images are more similar to examples without a file than examples ever are by chance, (n,)."""
    embeddings = index.gallery.embeddings
    sample = np.arange(len(index))
    if len(sample) > _SAMPLE:
        sample = np.sort(np.random.default_rng(0).choice(len(sample), _SAMPLE, replace=False))
    limit = duplicate_cosine(*nearest_pairs(embeddings[sample], count=1))
    found = np.zeros(len(files), bool)
    numbers = np.unique(new)
    for start in range(0, len(numbers), _BATCH):
        part = numbers[start : start + _BATCH]
        queries, read = _encoded(index, [files[number] for number in part], encoder, images, mirrored=False)
        for number, query in zip(part[read], queries):
            found[number] = bool((embeddings[rows[new == number]] @ query >= limit).any())
    return found


def _mirrored_candidates(index: Index, files: Sequence[Place], encoder: Encoder, images: ImagesConfig) -> IntArray:
    """Return pairs (m, 2) of new images and the examples nearest to their mirror images.

    An encoder that gives an image and its mirror image similar vectors finds them anyway, so that nothing is encoded
    twice.
    """
    embeddings = index.gallery.embeddings
    tried = files[:: max(len(files) // _TRIED, 1)][:_TRIED]
    upright, read = _encoded(index, tried, encoder, images, mirrored=False)
    mirrored, also_read = _encoded(index, tried, encoder, images, mirrored=True)
    if not len(read) or list(read) != list(also_read):
        return np.empty((0, 2), np.int64)
    partners = min(_PARTNERS, len(embeddings))
    usual = np.partition(upright @ embeddings.T, -partners, axis=1)[:, -partners]
    if float(((upright * mirrored).sum(axis=1) >= usual).mean()) >= _SEEN:
        return np.empty((0, 2), np.int64)
    pairs = []
    for start in range(0, len(files), _BATCH):
        vectors, read = _encoded(index, files[start : start + _BATCH], encoder, images, mirrored=True)
        found, _ = nearest_pairs(vectors, embeddings, _PARTNERS)
        pairs.append(np.stack([start + read[found[:, 0]], found[:, 1]], axis=1))
    return np.concatenate(pairs)


def _encoded(
    index: Index, files: Sequence[Place], encoder: Encoder, images: ImagesConfig, mirrored: bool
) -> tuple[Float32Array, IntArray]:
    """Return the queries of readable files (n, d), mirrored first if wanted, and their positions (n,)."""
    decoded = list(read_images(files, images.limits, encoder.image_size if images.fast_jpeg else None, images.readers))
    read = [number for number, image in enumerate(decoded) if isinstance(image, DecodedImage)]
    pixels = [image.image for image in decoded if isinstance(image, DecodedImage)]
    pixels = [ImageOps.mirror(image) for image in pixels] if mirrored else pixels
    vectors = [encode_images(encoder, [image]) for image in pixels]
    dim = encoder.fingerprint.dim
    return index.queries(np.concatenate([np.empty((0, dim), np.float32), *vectors])), np.array(read, np.int64)
