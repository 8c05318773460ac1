"""Find images that are copies of each other by their pixels: saved again, resized, cropped a little, or mirrored.

Small thumbnails are aligned and compared, those that agree again at twice the resolution and in color. Other images of
the same dataset say how much agreement is usual, so that the limit fits plain product photographs and street scenes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.core.tail import chance_limit
from lmm_classifier.data.alignment import LUMA_SIDE, align, detail_correlation, plane_correlation, refine, warped
from lmm_classifier.data.images import DecodedImage, read_images
from lmm_classifier.data.limits import ImageLimits

_SHAPE = 8  # side of the outlines by which candidates are chosen
_CROP = 0.9  # part of each side that remains where 5 % are cropped off at both ends
_CANDIDATES = 3  # images per image and orientation
_ALIKE = 0.75  # correlation of the outlines below which images are no copies
_BLOCK = 256  # images or pairs compared at a time
_DETAIL_SIDE, _COLOR_SIDE = 128, 32
_COLOR_NOISE = 4.0  # variance of colors of a gray image, in squared levels of 255
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


class CopyFinder:
    """Compares the pixels of image files; thumbnails of 4 kB each stay in memory.

    Args:
        files: n image files.
        limits: the largest images to decode. A file that cannot be read has no copies.
        threads: number of threads that read.
        progress: called after each file.
    """

    def __init__(
        self,
        files: Sequence[Path],
        limits: ImageLimits,
        threads: int,
        progress: ProgressCallback | None = None,
    ) -> None:
        self._files, self._limits, self._threads = files, limits, threads
        self._luma = np.zeros((len(files), LUMA_SIDE, LUMA_SIDE), np.uint8)
        self.readable: BoolArray = np.zeros(len(files), bool)
        for number, image in enumerate(read_images(files, limits, LUMA_SIDE, threads)):
            if isinstance(image, DecodedImage):
                self._luma[number] = _luma(image.image, LUMA_SIDE)
                self.readable[number] = True
            if progress is not None:
                progress(
                    Progress("comparing pixels", number + 1, len(files), int((~self.readable[: number + 1]).sum()))
                )
        self._outlines, self._cropped = _outlines(self._luma)  # (n, 64) each
        self._details = lru_cache(_DECODED)(self._read_details)

    def candidates(self) -> IntArray:
        """Return pairs (m, 2) of images whose outlines are most similar, upright or mirrored."""
        pairs = set[tuple[int, int]]()
        usable = np.flatnonzero(self.readable)
        most = min(_CANDIDATES + 1, len(usable))
        for start in range(0, len(usable), _BLOCK):
            rows = usable[start : start + _BLOCK]
            for mirrored in (False, True):
                alike = self._alike(rows, usable, mirrored)
                alike[np.arange(len(rows)), start + np.arange(len(rows))] = -1  # an image is no copy of itself
                best = np.argpartition(-alike, most - 1, axis=1)[:, :most]
                for row, chosen, values in zip(rows, best, np.take_along_axis(alike, best, axis=1)):
                    near = usable[chosen[values >= _ALIKE]]
                    pairs.update((min(row, other), max(row, other)) for other in near.tolist())
        return np.array(sorted(pairs), np.int64).reshape(-1, 2)

    @single_threaded_blas  # small products are several times slower with more threads
    def copies(self, candidates: IntArray) -> list[CopyPair]:
        """Return which of the candidate pairs (m, 2) are copies, in the order of the pairs.

        The limit follows from the candidates: at most one pair of 1,000 images is expected to reach it by chance.
        """
        candidates = candidates[self.readable[candidates].all(axis=1)]
        agreement, warps, mirrored = self._aligned(candidates)
        chance = chance_limit(candidates, agreement.clip(0), _FALSE_PAIRS)
        limit = _USUAL if chance is None else min(max(chance, _LEAST), _MOST)
        return list(self._verified(candidates, agreement, warps, mirrored, limit))

    def _alike(self, rows: IntArray, others: IntArray, mirrored: bool) -> Float32Array:
        """Return the correlation of outlines (n, m), the best of: both whole, one of both cropped."""
        whole, cropped = _mirrored(self._outlines[others], mirrored), _mirrored(self._cropped[others], mirrored)
        left, left_cropped = self._outlines[rows], self._cropped[rows]
        products = [left @ whole.T, left @ cropped.T, left_cropped @ whole.T]
        return np.asarray(np.maximum.reduce(products), np.float32)

    def _aligned(self, pairs: IntArray) -> tuple[Float64Array, Float64Array, BoolArray]:
        """Return for m pairs the agreement of the thumbnails (m,), the warps (m, 4), and whether one is mirrored."""
        agreement, flipped = np.full(len(pairs), -1.0), np.zeros(len(pairs), bool)
        warps = np.tile([1.0, 0.0, 1.0, 0.0], (len(pairs), 1))
        for mirrored in (False, True):
            whole, cropped = _mirrored(self._outlines, mirrored), _mirrored(self._cropped, mirrored)
            products = [(self._outlines, whole), (self._outlines, cropped), (self._cropped, whole)]
            alike = np.array([(a[pairs[:, 0]] * b[pairs[:, 1]]).sum(axis=1) for a, b in products])  # (3, m)
            scales = np.array([1, _CROP, 1 / _CROP])[alike.argmax(axis=0)]
            plausible = np.flatnonzero(alike.max(axis=0) >= _ALIKE)
            for start in range(0, len(plausible), _BLOCK):
                rows = plausible[start : start + _BLOCK]
                first, second = (self._luma[pairs[rows, side]].astype(np.float32) for side in (0, 1))
                second = np.ascontiguousarray(second[:, :, ::-1]) if mirrored else second
                found = align(first, second, scales[rows])
                reached = detail_correlation(first, second, found)
                better = reached > agreement[rows]
                agreement[rows[better]], warps[rows[better]] = reached[better], found[better]
                flipped[rows[better]] = mirrored
        return agreement, warps, flipped

    def _verified(
        self, pairs: IntArray, agreement: Float64Array, warps: Float64Array, mirrored: BoolArray, limit: float
    ) -> Iterator[CopyPair]:
        """Compare the pairs that agree again, in detail and in color."""
        for row in np.flatnonzero(agreement >= limit):
            first, second = (self._details(int(number)) for number in pairs[row])
            if first is None or second is None:
                continue
            other = second if not mirrored[row] else _Details(second.luma[:, ::-1], second.colors[:, :, ::-1])
            luma, other_luma = first.luma[None], np.ascontiguousarray(other.luma)[None]
            warp = refine(luma, other_luma, warps[[row]])
            details = detail_correlation(luma, other_luma, warp)[0]
            colors = plane_correlation(first.colors[None], np.ascontiguousarray(other.colors)[None], warp, _COLOR_NOISE)
            lowest = float(min(agreement[row], details, colors[0]))
            if lowest >= limit:
                yield CopyPair(int(pairs[row, 0]), int(pairs[row, 1]), lowest, bool(mirrored[row]))

    def _read_details(self, number: int) -> _Details | None:
        (image,) = read_images([self._files[number]], self._limits, _DETAIL_SIDE, 1)
        if not isinstance(image, DecodedImage):
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
