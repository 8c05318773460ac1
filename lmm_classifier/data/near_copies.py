"""Find images that are copies of each other by their pixels: saved again, resized, cropped a little, or mirrored.

Small thumbnails are aligned and compared, those that agree again at twice the resolution and in color. Other images of
the same dataset say how much agreement is usual, so that the limit fits plain product photographs and street scenes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.core.errors import ImageError
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.core.tail import chance_limit
from lmm_classifier.data.alignment import LUMA_SIDE, align, detail_correlation, plane_correlation, refine, warped
from lmm_classifier.data.images import DecodedImage, read_image, read_images
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place

_SHAPE = 8  # side of the outlines by which candidates are chosen
_CROP = 0.9  # part of each side that remains where 5 % are cropped off at both ends
_CANDIDATES = 3  # images per image and orientation
_ALIKE = 0.75  # correlation of the outlines below which images are no copies
_BLOCK = 256  # images or pairs compared at a time
_HELD = 1 << 23  # correlations of outlines in memory at a time: 34 MB
MOST_PAIRS = 250_000  # pairs that are aligned at most: some ms each
_OUTLINES = 1 << 14  # pairs whose outlines are compared at a time
_TOGETHER = 8  # pairs whose details are compared at a time
_DETAIL_SIDE, _COLOR_SIDE = 128, 32
_COLOR_NOISE = 4.0  # variance of colors of a gray image, in squared levels of 255
_COLOR_SLACK = 0.15  # so much less may colors agree before the last alignment, which moves them by half a pixel
_DECODED = 512  # detailed images in memory: 80 kB each
_LEAST, _MOST = 0.6, 0.85  # the limit of the agreement is in this range, whatever the dataset
_USUAL = 0.75  # the limit of photographs, where too few pairs are compared to tell
_FALSE_PAIRS = 1 / 1000  # expected false pairs per image


@dataclass(frozen=True, slots=True)
class CopyPair:
    """Two images, by their positions, that are copies of each other."""

    first: int
    second: int
    agreement: float  # correlation of details and colors after alignment, at most 1, higher is more certain
    mirrored: bool


@dataclass(frozen=True)
class _Details:
    luma: Float32Array  # (128, 128)
    colors: Float32Array  # (2, 32, 32)

    def mirrored(self) -> _Details:
        return _Details(self.luma[:, ::-1], self.colors[:, :, ::-1])


class CopyFinder:
    """Compares the pixels of image files; thumbnails of 4 kB each stay in memory.

    Args:
        files: n image files.
        limits: the largest images to decode. A file that cannot be read has no copies.
        threads: number of threads that read.
        progress: called after each file, and then between two blocks of pairs; raise `Cancelled` in it to stop.
    """

    def __init__(
        self,
        files: Sequence[Place],
        limits: ImageLimits,
        threads: int,
        progress: ProgressCallback | None = None,
    ) -> None:
        self._files, self._limits, self._threads, self._progress = files, limits, threads, progress
        self._luma = np.zeros((len(files), LUMA_SIDE, LUMA_SIDE), np.uint8)
        self.readable: BoolArray = np.zeros(len(files), bool)
        unread = 0
        for number, image in enumerate(read_images(files, limits, LUMA_SIDE, threads)):
            if isinstance(image, DecodedImage):
                self._luma[number] = _luma(image.image, LUMA_SIDE)
                self.readable[number] = True
            else:
                unread += 1
            self._report("reading pixels", number + 1, len(files), unread)
        self._outlines, self._cropped = _outlines(self._luma)  # (n, 64) each
        self._details = lru_cache(_DECODED)(self._read_details)

    def _report(self, stage: str, done: int, total: int, failed: int = 0) -> None:
        if self._progress is not None:
            self._progress(Progress(stage, done, total, failed))

    def candidates(self) -> IntArray:
        """Return pairs (m, 2) of images whose outlines are most similar, upright or mirrored."""
        usable = np.flatnonzero(self.readable)
        most = min(_CANDIDATES + 1, len(usable))
        size = max(min(_BLOCK, _HELD // max(len(usable), 1)), 1)
        found = [np.empty((0, 2), np.int64)]
        for start in range(0, len(usable), size):
            rows = usable[start : start + size]
            for mirrored in (False, True):
                alike = self._alike(rows, usable, mirrored)
                alike[np.arange(len(rows)), start + np.arange(len(rows))] = -1  # an image is no copy of itself
                best = np.argpartition(-alike, most - 1, axis=1)[:, :most]
                is_near = np.take_along_axis(alike, best, axis=1) >= _ALIKE
                pairs = np.stack([np.repeat(rows, is_near.sum(axis=1)), usable[best[is_near]]], axis=1)
                found.append(np.sort(pairs, axis=1))
            self._report("choosing pairs", start + len(rows), len(usable))
        return np.unique(np.concatenate(found), axis=0)

    @single_threaded_blas  # small products are several times slower with more threads
    def copies(self, candidates: IntArray) -> list[CopyPair]:
        """Return which of the candidate pairs (m, 2) are copies, in the order of the pairs.

        The limit follows from the candidates: at most one pair of 1,000 images is expected to reach it by chance. Of
        more than 250,000 candidates those with the most similar outlines are compared.
        """
        candidates = candidates[self.readable[candidates].all(axis=1)]
        alike, scales = self._outlines_of(candidates)  # (2, m) each
        if len(candidates) > MOST_PAIRS:
            kept = np.sort(np.argsort(-alike.max(axis=0), kind="stable")[:MOST_PAIRS])
            candidates, alike, scales = candidates[kept], alike[:, kept], scales[:, kept]
        agreement, warps, mirrored = self._aligned(candidates, alike, scales)
        chance = chance_limit(candidates, agreement.clip(0), _FALSE_PAIRS)
        limit = _USUAL if chance is None else min(max(chance, _LEAST), _MOST)
        return list(self._verified(candidates, agreement, warps, mirrored, limit))

    def _alike(self, rows: IntArray, others: IntArray, mirrored: bool) -> Float32Array:
        """Return the correlation of outlines (n, m), the best of: both whole, one of both cropped."""
        whole, cropped = _mirrored(self._outlines[others], mirrored), _mirrored(self._cropped[others], mirrored)
        left, left_cropped = self._outlines[rows], self._cropped[rows]
        products = [left @ whole.T, left @ cropped.T, left_cropped @ whole.T]
        return np.asarray(np.maximum.reduce(products), np.float32)

    def _outlines_of(self, pairs: IntArray) -> tuple[Float32Array, Float64Array]:
        """Return for m pairs the correlation of the outlines, upright and mirrored, and the scales: (2, m) each."""
        alike, scales = np.empty((2, len(pairs)), np.float32), np.empty((2, len(pairs)))
        for mirrored in (False, True):
            whole, cropped = _mirrored(self._outlines, mirrored), _mirrored(self._cropped, mirrored)
            products = [(self._outlines, whole), (self._outlines, cropped), (self._cropped, whole)]
            for start in range(0, len(pairs), _OUTLINES):
                part = slice(start, start + _OUTLINES)
                first, second = pairs[part].T
                each = np.array([(a[first] * b[second]).sum(axis=1) for a, b in products])  # (3, m)
                alike[int(mirrored), part] = each.max(axis=0)
                scales[int(mirrored), part] = np.array([1, _CROP, 1 / _CROP])[each.argmax(axis=0)]
        return alike, scales

    def _aligned(
        self, pairs: IntArray, alike: Float32Array, scales: Float64Array
    ) -> tuple[Float64Array, Float64Array, BoolArray]:
        """Return for m pairs the agreement of the thumbnails (m,), the warps (m, 4), and whether one is mirrored."""
        agreement, flipped = np.full(len(pairs), -1.0), np.zeros(len(pairs), bool)
        warps = np.tile([1.0, 0.0, 1.0, 0.0], (len(pairs), 1))
        done, total = 0, int((alike >= _ALIKE).sum())
        for mirrored in (False, True):
            plausible = np.flatnonzero(alike[int(mirrored)] >= _ALIKE)
            for start in range(0, len(plausible), _BLOCK):
                rows = plausible[start : start + _BLOCK]
                first, second = (self._luma[pairs[rows, side]].astype(np.float32) for side in (0, 1))
                second = np.ascontiguousarray(second[:, :, ::-1]) if mirrored else second
                found = align(first, second, scales[int(mirrored), rows])
                reached = detail_correlation(first, second, found)
                better = reached > agreement[rows]
                agreement[rows[better]], warps[rows[better]] = reached[better], found[better]
                flipped[rows[better]] = mirrored
                done += len(rows)
                self._report("comparing pixels", done, total)
        return agreement, warps, flipped

    def _verified(
        self, pairs: IntArray, agreement: Float64Array, warps: Float64Array, mirrored: BoolArray, limit: float
    ) -> Iterator[CopyPair]:
        """Compare the pairs that agree again, in detail and in color."""
        rows = np.flatnonzero(agreement >= limit)
        for start in range(0, len(rows), _TOGETHER):
            part = rows[start : start + _TOGETHER]
            lowest = np.minimum(agreement[part], self._compared(pairs[part], warps[part], mirrored[part], limit))
            for row, reached in zip(part, lowest):
                if reached >= limit:
                    yield CopyPair(int(pairs[row, 0]), int(pairs[row, 1]), float(reached), bool(mirrored[row]))
            self._report("comparing details", start + len(part), len(rows))

    def _compared(self, pairs: IntArray, warps: Float64Array, mirrored: BoolArray, limit: float) -> Float64Array:
        """Return the agreement (m,) of the details and colors of pairs; -1 where colors are far below a limit."""
        reached = np.full(len(pairs), -1.0)
        read = [(self._details(first), self._details(second)) for first, second in pairs.tolist()]
        both = [
            (first, second.mirrored() if flipped else second)
            for (first, second), flipped in zip(read, mirrored.tolist())
            if first is not None and second is not None
        ]
        places = np.flatnonzero([None not in details for details in read])
        colors = [np.stack([details[side].colors for details in both]) for side in (0, 1)] if both else []
        if both:
            alike = plane_correlation(colors[0], colors[1], warps[places], _COLOR_NOISE)
            near = np.flatnonzero(alike >= limit - _COLOR_SLACK)
            places, both = places[near], [both[place] for place in near]
        if both:
            luma = [np.stack([details[side].luma for details in both]) for side in (0, 1)]
            warps = refine(luma[0], luma[1], warps[places])
            found = plane_correlation(colors[0][near], colors[1][near], warps, _COLOR_NOISE)
            reached[places] = np.minimum(detail_correlation(luma[0], luma[1], warps), found)
        return reached

    def _read_details(self, number: int) -> _Details | None:
        try:
            image = read_image(self._files[number], self._limits, _DETAIL_SIDE)
        except ImageError:
            return None  # it was changed or removed meanwhile
        colors = image.image.convert("YCbCr").resize((_COLOR_SIDE, _COLOR_SIDE), Image.Resampling.BILINEAR)
        planes = np.asarray(colors, np.float32)[..., 1:].transpose(2, 0, 1)
        return _Details(_luma(image.image, _DETAIL_SIDE).astype(np.float32), np.ascontiguousarray(planes))


def _luma(image: Image.Image, side: int) -> np.ndarray:
    return np.asarray(image.convert("L").resize((side, side), Image.Resampling.BILINEAR))


def _outlines(luma: np.ndarray) -> tuple[Float32Array, Float32Array]:
    """Return the outlines (n, 64) of whole thumbnails and of their middle: centered and normalized means of blocks."""
    size = LUMA_SIDE // _SHAPE
    parts = tuple([np.empty((0, _SHAPE**2), np.float32)] for _ in range(2))
    for start in range(0, len(luma), _BLOCK):
        images = luma[start : start + _BLOCK].astype(np.float32)
        middle = warped(images, np.tile([_CROP, 0.0, _CROP, 0.0], (len(images), 1)))[0]
        for outlines, pixels in zip(parts, (images, middle)):
            blocks = pixels.reshape(-1, _SHAPE, size, _SHAPE, size).mean(axis=(2, 4)).reshape(-1, _SHAPE**2)
            blocks = blocks - blocks.mean(axis=1, keepdims=True)
            outlines.append(blocks / (np.linalg.norm(blocks, axis=1, keepdims=True) + 1e-6))
    return np.concatenate(parts[0]), np.concatenate(parts[1])


def _mirrored(outlines: Float32Array, mirrored: bool) -> Float32Array:
    if not mirrored:
        return outlines
    return outlines.reshape(-1, _SHAPE, _SHAPE)[:, :, ::-1].reshape(outlines.shape)
