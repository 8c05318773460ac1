"""Align two images that may be copies of each other, one perhaps cropped, and measure how well their details agree.

All computations are batched over n pairs of square images. The position on an axis runs from -1 to 1. A warp is
(n, 4): scale and shift along x, scale and shift along y. It maps a position of the first image to one of the second.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array

LUMA_SIDE = 64  # pixels of the thumbnails that are aligned
_COARSE = ((8, 4), (4, 4))  # pixels of a block, and steps
_FINE = ((2, 4), (1, 4))
_PLAUSIBLE = 0.5  # correlation of details from which a pair is aligned at the next resolution
_LEAST_OVERLAP = 0.5  # fraction of the first image that the second must cover
_SCALES = (0.7, 1 / 0.7)  # no larger part is cropped off
_MOST_SHIFT = 0.4
_MOST_STEP = 0.1
_BLUR = 2  # radius in pixels of the mean that is subtracted to leave the details
_PIXELS = 1 << 16  # of images that are refined at a time: what a step needs then stays in the cache
_NOISE = 0.25  # variance of details below which an image has none, in squared levels of 255


def align(first: Float32Array, second: Float32Array, scales: Float64Array) -> Float64Array:
    """Return the warps (n, 4) that map thumbnails `first` (n, 64, 64) onto `second` best, for any gain and offset.

    Lucas & Kanade (1981) from coarse to fine, starting from `scales` (n,) of both axes.
    """
    nothing = np.zeros(len(first))
    best = np.stack([scales, nothing, scales, nothing], axis=1)
    plausible = np.arange(len(first))
    for block, steps in (*_COARSE, *_FINE):
        pooled, other = _pooled(first[plausible], block), _pooled(second[plausible], block)
        refined = _refined(pooled, other, best[plausible], steps)
        if block == _COARSE[0][0]:  # the coarsest images have no details
            pooled, other = _pooled(first, _COARSE[1][0]), _pooled(second, _COARSE[1][0])
        before, after = _detail_correlations(pooled, other, (best[plausible], refined))
        better = after > before
        best[plausible[better]] = refined[better]
        plausible = plausible[np.maximum(before, after) >= (_PLAUSIBLE if block < _COARSE[0][0] else -1)]
        if not len(plausible):
            break
    return best


def refine(first: Float32Array, second: Float32Array, warps: Float64Array) -> Float64Array:
    """Return better warps (n, 4), at the resolution of images `first` and `second` (n, s, s)."""
    for block, steps in _FINE:
        warps = _refined(_pooled(first, block), _pooled(second, block), warps, steps)
    return warps


def warped(images: Float32Array, warps: Float64Array) -> tuple[Float32Array, BoolArray]:
    """Return images (n, s, s) as seen through the warps, and which pixels exist (n, s, s)."""
    columns, in_x = _resampling(warps[:, 0], warps[:, 1], images.shape[-1])
    rows, in_y = _resampling(warps[:, 2], warps[:, 3], images.shape[-1])
    seen = np.asarray(rows @ images @ columns.transpose(0, 2, 1), np.float32)
    return seen, in_y[:, :, None] & in_x[:, None, :]


def detail_correlation(first: Float32Array, second: Float32Array, warps: Float64Array) -> Float64Array:
    """Return the correlation of the details of images `first` and warped images `second` (n, s, s), -1 to 1, (n,)."""
    return _detail_correlations(first, second, (warps,))[0]


def plane_correlation(first: Float32Array, second: Float32Array, warps: Float64Array, noise: float) -> Float64Array:
    """Return the correlation of several planes (n, p, s, s) at once, -1 to 1, (n,).

    Planes whose variance is far below `noise` agree.
    """
    planes = [warped(second[:, plane], warps) for plane in range(second.shape[1])]
    images = np.concatenate([image for image, _ in planes], axis=1)
    exists = np.concatenate([existing for _, existing in planes], axis=1)
    stacked = first.reshape(len(first), -1, first.shape[-1])
    return _correlation(stacked, images, exists, noise, agree=noise)


def _resampling(scales: Float64Array, shifts: Float64Array, side: int) -> tuple[Float32Array, BoolArray]:
    """Return matrices (n, s, s) of linear interpolation along one axis, and which positions exist (n, s)."""
    centers = (np.arange(side) + 0.5) / side * 2 - 1
    positions = (scales[:, None] * centers + shifts[:, None] + 1) / 2 * side - 0.5
    exists = (positions >= -0.5) & (positions <= side - 0.5)
    positions = positions.clip(0, side - 1)
    lower = np.minimum(np.floor(positions).astype(np.int64), side - 2)
    fraction = (positions - lower).astype(np.float32)
    matrices = np.zeros((len(scales), side, side), np.float32)
    pair, row = np.arange(len(scales))[:, None], np.arange(side)[None]
    matrices[pair, row, lower] = 1 - fraction
    matrices[pair, row, lower + 1] = fraction
    return matrices, exists


def _detail_correlations(
    first: Float32Array, second: Float32Array, several: Sequence[Float64Array]
) -> list[Float64Array]:
    """Return the correlation of the details for several warps (n, 4) of each pair, -1 to 1, (n,) each."""
    details = _details(first)
    seen = (warped(second, warps) for warps in several)
    return [_correlation(details, _details(images), exists, _NOISE) for images, exists in seen]


def _refined(first: Float32Array, second: Float32Array, warps: Float64Array, steps: int) -> Float64Array:
    """Return warps after some Gauss-Newton steps: shifts, scales, gain and offset are solved for together."""
    refined, size = warps.copy(), max(_PIXELS // first[0].size, 1) if len(first) else 1
    for start in range(0, len(first), size):
        part = slice(start, start + size)
        for _ in range(steps):
            refined[part] = _stepped(first[part], second[part], refined[part])
    return refined


def _stepped(first: Float32Array, second: Float32Array, warps: Float64Array) -> Float64Array:
    """Return warps (n, 4) after one step."""
    images, exists = warped(second, warps)
    slopes = _slopes(images, exists, warps)  # (n, 6, pixels)
    target = (first * exists).reshape(len(first), -1, 1)
    normal = (slopes @ slopes.transpose(0, 2, 1)).astype(np.float64)
    ridge = 1e-6 * np.trace(normal, axis1=1, axis2=2) + 1e-9
    normal += ridge[:, None, None] * np.eye(slopes.shape[1])
    solved = np.linalg.solve(normal, (slopes @ target).astype(np.float64))[..., 0]
    gain = np.where(np.abs(solved[:, 4]) < 0.2, 0.2, solved[:, 4])
    stepped = warps + (solved[:, :4] / gain[:, None]).clip(-_MOST_STEP, _MOST_STEP)
    stepped[:, [0, 2]] = stepped[:, [0, 2]].clip(*_SCALES)
    stepped[:, [1, 3]] = stepped[:, [1, 3]].clip(-_MOST_SHIFT, _MOST_SHIFT)
    return np.asarray(stepped, np.float64)


def _slopes(images: Float32Array, exists: BoolArray, warps: Float64Array) -> Float32Array:
    """Return how the pixels of warped images (n, s, s) change with scale and shift along x and y, gain and offset.

    They are (n, 6, s * s); 0 where a pixel does not exist.
    """
    side = images.shape[-1]
    centers = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)
    pixel = np.float32(2 / side)
    slopes = np.empty((len(images), 6, side, side), np.float32)
    scale_x, scale_y = (warps[:, place, None, None].astype(np.float32) for place in (0, 2))
    along_x, along_y = slopes[:, 1], slopes[:, 3]
    _differences(images, along_x, pixel)
    _differences(images.transpose(0, 2, 1), along_y.transpose(0, 2, 1), pixel)
    along_x /= scale_x
    along_y /= scale_y
    np.multiply(along_x, centers, out=slopes[:, 0])
    np.multiply(along_y, centers[:, None], out=slopes[:, 2])
    slopes[:, 4], slopes[:, 5] = images, 1
    slopes *= exists[:, None]
    return slopes.reshape(len(images), 6, -1)


def _differences(images: Float32Array, out: Float32Array, step: np.float32) -> None:
    """Write the slopes along the last axis to `out`: `numpy.gradient` without its copies."""
    np.subtract(images[..., 2:], images[..., :-2], out=out[..., 1:-1])
    out[..., 1:-1] /= 2 * step
    out[..., 0] = (images[..., 1] - images[..., 0]) / step
    out[..., -1] = (images[..., -1] - images[..., -2]) / step


def _correlation(
    first: Float32Array, second: Float32Array, exists: BoolArray, noise: float = 1e-6, agree: float = 0.0
) -> Float64Array:
    """Return the correlation over the pixels that exist, (n,); -1 where too few exist.

    `noise` is added to the variances, and `agree` to the covariance.
    """
    weights = exists.astype(np.float32)
    count = np.maximum(weights.sum(axis=(1, 2)), 1)

    def centered(images: Float32Array) -> Float32Array:
        mean = (images * weights).sum(axis=(1, 2)) / count
        return np.asarray((images - mean[:, None, None]) * weights, np.float32)

    left, right = centered(first), centered(second)
    covariance = (left * right).sum(axis=(1, 2), dtype=np.float64) / count
    variances = [np.square(part).sum(axis=(1, 2), dtype=np.float64) / count for part in (left, right)]
    correlation = (covariance + agree) / np.sqrt((variances[0] + noise) * (variances[1] + noise))
    return np.asarray(np.where(exists.mean(axis=(1, 2)) >= _LEAST_OVERLAP, correlation, -1.0))


def _pooled(images: Float32Array, block: int) -> Float32Array:
    """Return means of blocks of `block` x `block` pixels, a power of two: (n, s / block, s / block)."""
    while block > 1:  # a mean over both axes of the blocks at once is several times slower
        rows = images[:, ::2] + images[:, 1::2]
        images, block = (rows[:, :, ::2] + rows[:, :, 1::2]) * np.float32(0.25), block // 2
    return images


def _details(images: Float32Array) -> Float32Array:
    """Return images (n, s, s) minus their local means."""
    return images - _sums_along_x(_sums_along_x(images).transpose(0, 2, 1)).transpose(0, 2, 1) / np.float32(
        (2 * _BLUR + 1) ** 2
    )


def _sums_along_x(images: Float32Array) -> Float32Array:
    """Return the sum of each pixel (n, s, s) and its neighbors in the row; pixels at the edge are repeated."""
    padded = np.concatenate([images[:, :, :1]] * _BLUR + [images] + [images[:, :, -1:]] * _BLUR, axis=2)
    side = images.shape[-1]
    sums = padded[:, :, :side] + padded[:, :, 1 : side + 1]
    for shift in range(2, 2 * _BLUR + 1):
        sums += padded[:, :, shift : shift + side]
    return sums
