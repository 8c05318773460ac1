"""The weight-free encoder: five hand-made descriptions of an image, computed with numpy and Pillow alone.

Sources: log-Euclidean covariances (Arsigny et al. 2006) of region features (Tuzel et al. 2006); SIFT (Lowe 2004) in the
RootSIFT form (Arandjelovic & Zisserman 2012); HOG (Dalal & Triggs 2005); uniform LBP (Ojala et al. 2002); a soft joint
histogram of opponent colors. Their units differ, so they are compared after block whitening (see `whitening`).

Every product below sums at most a few thousand numbers in one small matrix call, which no BLAS divides among threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL.Image import Image, Resampling, fromarray

from lmm_classifier.core.arrays import Float32Array, Float64Array
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.linalg import single_threaded_blas
from lmm_classifier.core.protocols import Preprocessed
from lmm_classifier.embeddings.whitening import BlockWhiteningFitter

ByteArray = NDArray[np.uint8]

_LONG_SIDE = 256  # pixels; larger images are reduced first, so that speed and result depend little on their size
_SCALES = (128, 64, 32)  # sides of the squares for local features and covariances
_TEXTURE_SIDES = (192, 128, 64, 32)
_COLOR_SIDE = 48
_CELL = 4  # pixels
_BINS = 8  # signed orientations
_TILE = 32  # pixels; covariances are summed from tiles of this side
_CHANNELS = 12
_PROJECTED = 32  # dimensions of a projected local descriptor
_LEVELS = (5, 9, 9)  # histogram levels of lightness, red-green, yellow-blue
_RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))  # neighbors in circular order

_SIZES = (528, 546, 768, 236, 405)  # local features, covariances, HOG, LBP, color
_WEIGHTS = (1.0, 1.0, 1.0, 1.0, 0.5)
_NORM = 27.0  # typical norm of the 2483 numbers


class DescriptorEncoder:
    """An encoder without weights: 2483 numbers that describe shape, texture and color.

    The whitening needs their norm, but embeddings must be normalized. So a row is homogeneous, (v, c) / ||(v, c)|| with
    a constant c, and v is recovered exactly as row[:-1] * c / row[-1].
    """

    image_size = _LONG_SIDE
    transform_fitter: BlockWhiteningFitter = BlockWhiteningFitter(_SIZES, _WEIGHTS, _NORM)
    fingerprint: Fingerprint = Fingerprint(
        backend="descriptor",
        model="descriptor",
        revision="1",
        preprocessing="RGB, long side <= 256, bilinear to squares of 192, 128, 64, 48, 32",
        dim=sum(_SIZES) + 1,
        dtype="float32",
    )

    batch_size = 16

    def preprocess(self, image: Image) -> ByteArray:
        """Reduce an upright RGB image to a long side of 256 pixels at most, (height, width, 3)."""
        return np.asarray(_reduced(image.convert("RGB")))

    @single_threaded_blas
    def encode(self, preprocessed: Sequence[Preprocessed]) -> Float32Array:
        """Return normalized embeddings (n, 2484); each is computed on its own."""
        rows = np.empty((len(preprocessed), self.fingerprint.dim), np.float32)
        for number, pixels in enumerate(preprocessed):
            row = np.append(describe(fromarray(np.asarray(pixels))), np.float32(_NORM))
            rows[number] = row / np.sqrt(np.square(row, dtype=np.float64).sum())
        return rows


def describe(image: Image) -> Float32Array:
    """Return five blocks of numbers, (2483,), for an RGB image: local features, covariances, HOG, LBP, color."""
    image = _reduced(image.convert("RGB"))
    squares = {side: _square(image, side) for side in (*_SCALES, _COLOR_SIDE)}
    grays = {side: np.asarray(squares[side].convert("L")) for side in _SCALES}
    grays[_TEXTURE_SIDES[0]] = np.asarray(_square(image.convert("L"), _TEXTURE_SIDES[0]))
    energies = [_orientation_energy(np.sqrt(grays[side] / np.float32(255))) for side in _SCALES]
    return np.concatenate(
        [
            _signed_root(_local_features(energies)),
            _signed_root(_covariances([_opponent(squares[side]) for side in _SCALES])),
            _oriented_gradients(energies[0]),
            _signed_root(np.concatenate([_binary_patterns(grays[side]) for side in _TEXTURE_SIDES])),
            _signed_root(_colors(_opponent(squares[_COLOR_SIDE]))),
        ]
    )


def _reduced(image: Image) -> Image:
    longest = max(image.size)
    if longest <= _LONG_SIDE:
        return image
    width, height = (max(1, round(side * _LONG_SIDE / longest)) for side in image.size)
    return image.resize((width, height), Resampling.BILINEAR, reducing_gap=2.0)


def _square(image: Image, side: int) -> Image:
    return image.resize((side, side), Resampling.BILINEAR)


def _opponent(image: Image) -> Float32Array:
    """Split an image into lightness (0 to 1), red-green and yellow-blue (-1 to 1): (3, height, width)."""
    red, green, blue = np.asarray(image, np.float32).transpose(2, 0, 1) / np.float32(255)
    both = red + green
    return np.stack([(both + blue) / 3, red - green, both / 2 - blue])


def _signed_root(values: Float32Array) -> Float32Array:
    return np.copysign(np.sqrt(np.abs(values)), values)


def _gradient(planes: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return central differences across and down, zero at the border; same shape (..., height, width)."""
    across, down = np.zeros_like(planes), np.zeros_like(planes)
    np.subtract(planes[..., :, 2:], planes[..., :, :-2], out=across[..., :, 1:-1])
    np.subtract(planes[..., 2:, :], planes[..., :-2, :], out=down[..., 1:-1, :])
    return across, down


# 1. Local features -------------------------------------------------------------------------------------------------


def _orientation_energy(gray: Float32Array) -> Float32Array:
    """Sum the gradient over cells, divided between the two nearest of 8 signed orientations: (cells, cells, 8)."""
    across, down = _gradient(gray)
    strength = np.sqrt(across * across + down * down).ravel()
    angle = np.arctan2(down, across).ravel() * np.float32(_BINS / (2 * np.pi))  # -4 to 4
    lower = np.floor(angle)
    upper_part = strength * (angle - lower)
    orientation = lower.astype(np.intp)
    cell, bins = _cell_bins(len(gray)), (len(gray) // _CELL) ** 2 * _BINS
    energy = np.bincount(cell + orientation % _BINS, strength - upper_part, bins)
    energy += np.bincount(cell + (orientation + 1) % _BINS, upper_part, bins)
    return energy.reshape(len(gray) // _CELL, -1, _BINS).astype(np.float32)


@cache
def _cell_bins(side: int) -> NDArray[np.intp]:
    """Return the first bin of each pixel's cell, (side * side,)."""
    cell = np.arange(side) // _CELL
    return ((cell[:, None] * (side // _CELL) + cell) * _BINS).ravel()


@cache
def _projection() -> Float32Array:
    """Return a fixed Gaussian projection (128, 32); numpy guarantees that this generator never changes."""
    return np.random.RandomState(0).normal(0, 128**-0.5, (16 * _BINS, _PROJECTED)).astype(np.float32)


def _local_features(energies: Sequence[Float32Array]) -> Float32Array:
    """Return the log-covariance of RootSIFT-like descriptors of 4x4 cells at every cell of every scale, (528,)."""
    raw = np.concatenate([_windows(energy) for energy in energies])  # (1035, 128)
    norms = np.sqrt(np.einsum("ij,ij->i", raw, raw))
    raw *= (1 / (norms + np.float32(0.4)))[:, None]
    np.minimum(raw, 0.2, out=raw)
    norms_of_clipped = np.sqrt(np.einsum("ij,ij->i", raw, raw))
    scale = (norms > 1e-3) / np.sqrt(norms_of_clipped + np.float32(1e-8))  # a flat patch has no direction
    local = np.sqrt(raw, out=raw) @ _projection()  # (1035, 32)
    local *= scale[:, None]
    groups = local.reshape(9, -1, _PROJECTED)
    moment = (groups.transpose(0, 2, 1) @ groups).sum(axis=0, dtype=np.float64) / len(local)
    return _log_covariance(moment[None], local.mean(axis=0, dtype=np.float64)[None]).ravel()


def _windows(energy: Float32Array) -> Float32Array:
    """Cut out 4x4 cells at every cell: (windows, 128)."""
    across = energy.shape[1]
    rows = energy.reshape(len(energy), across * _BINS)
    windows = sliding_window_view(rows, (4, 4 * _BINS))[:, ::_BINS]  # (cells - 3, cells - 3, 4, 32)
    return windows.reshape(-1, 16 * _BINS)


def _log_covariance(moment: Float64Array, mean: Float64Array) -> Float32Array:
    """Return the upper triangles (B, d (d + 1) / 2) of the matrix logarithms of covariances, as Euclidean vectors."""
    d = mean.shape[-1]
    covariance = moment - mean[:, :, None] * mean[:, None] + 1e-4 * np.eye(d)
    values, vectors = np.linalg.eigh(covariance)
    logarithm = (vectors * np.log(np.maximum(values, 1e-6))[:, None]) @ vectors.transpose(0, 2, 1)
    row, column = np.triu_indices(d)
    vector: Float64Array = logarithm[:, row, column] * np.where(row == column, 1, np.sqrt(2))
    return vector.astype(np.float32)


# 2. Covariances of pixel features ----------------------------------------------------------------------------------


def _covariances(scales: Sequence[Float32Array]) -> Float32Array:
    """Return log-covariances of 12 channels at 128, 64 and 32 pixels, and of the quarters at 64 (halved), (546,)."""
    large, quarters, small = (_tile_moments(_pixel_features(opponent)) for opponent in scales)  # 16, 4 and 1 tiles
    whole = [tiles.mean(axis=0) for tiles in (large, quarters, small)]
    moments = np.concatenate([whole, quarters])  # (7, 12, 13)
    logarithms = _log_covariance(moments[:, :, :_CHANNELS], moments[:, :, _CHANNELS])
    logarithms[3:] /= 2
    return logarithms.ravel()


def _pixel_features(opponent: Float32Array) -> Float32Array:
    """Return color, slopes and curvatures of every pixel, and a constant for the means in the moments: (13, s, s)."""
    out = np.empty((_CHANNELS + 1, *opponent.shape[1:]), np.float32)
    out[:3] = opponent
    np.sqrt(opponent[0], out=out[0])
    across, down = _gradient(out[:3])
    out[3], out[4] = across[0], down[0]
    np.abs(out[3:5], out=out[5:7])
    curvature = _gradient(out[3:5])
    np.abs(curvature[0][0], out=out[7])
    np.abs(curvature[1][1], out=out[8])
    np.abs(curvature[1][0], out=out[9])
    np.sqrt(across[1:] ** 2 + down[1:] ** 2, out=out[10:12])
    out[12] = 1
    return out


def _tile_moments(planes: Float32Array) -> Float64Array:
    """Return the mean products of the first 12 planes with all 13 in tiles of 32x32 pixels: (tiles, 12, 13)."""
    count, side, _ = planes.shape
    across = side // _TILE
    cut = planes.reshape(count, across, _TILE, across, _TILE).transpose(1, 3, 0, 2, 4)
    tiles = cut.reshape(across * across, count, _TILE * _TILE)
    products: Float32Array = tiles[:, :_CHANNELS] @ tiles.transpose(0, 2, 1)
    return products.astype(np.float64) / _TILE**2


# 3. Histograms of oriented gradients -------------------------------------------------------------------------------


def _oriented_gradients(energy: Float32Array) -> Float32Array:
    """Return HOG of 8x8 cells with 8 signed and 4 unsigned orientations, normalized by the 3x3 cells around, (768,)."""
    coarse = energy.reshape(8, 4, 8, 4, _BINS).sum(axis=(1, 3))  # (8, 8, 8)
    padded = np.pad(coarse.sum(axis=2) ** 2, 1, mode="edge")
    around = sliding_window_view(padded, (3, 3)).sum(axis=(2, 3))  # (8, 8)
    coarse /= (np.sqrt(around) + np.float32(0.8))[:, :, None]
    both = np.concatenate([coarse, coarse[:, :, :4] + coarse[:, :, 4:]], axis=2)  # (8, 8, 12)
    return _signed_root(both.ravel())


# 4. Local binary patterns ------------------------------------------------------------------------------------------


def _binary_patterns(gray: ByteArray) -> Float32Array:
    """Return the fractions of the 58 uniform patterns, and of all others, among pixels with 8 neighbors, (59,)."""
    side = len(gray)
    center = np.minimum(gray[1:-1, 1:-1], 253) + np.uint8(2)  # brighter means by at least 3 of 255
    codes = np.zeros(center.shape, np.uint8)
    for bit, (down, across) in enumerate(_RING):
        brighter = gray[1 + down : side - 1 + down, 1 + across : side - 1 + across] > center
        codes |= brighter.view(np.uint8) << np.uint8(bit)
    counts = np.bincount(codes.ravel(), minlength=256)
    return (np.bincount(_uniform_patterns(), counts, 59) / codes.size).astype(np.float32)


@cache
def _uniform_patterns() -> NDArray[np.intp]:
    """Number the circular patterns with at most two changes 0 to 57, and all others 58: (256,)."""
    codes = np.arange(256)
    rotated = codes >> 1 | (codes & 1) << 7
    changes = np.array([bin(code).count("1") for code in codes ^ rotated])
    return np.where(changes <= 2, np.cumsum(changes <= 2) - 1, 58)


# 5. Colors ---------------------------------------------------------------------------------------------------------


def _colors(opponent: Float32Array) -> Float32Array:
    """Return a joint histogram of opponent colors, each pixel divided among the 8 nearest of 5 x 9 x 9 bins, (405,)."""
    planes = opponent.reshape(3, 12, -1)  # 12 groups of 192 pixels
    planes[1:] = (_signed_root(planes[1:]) + 1) / 2  # finer bins for pale colors
    light, red, yellow = (_level_weights(plane, levels) for plane, levels in zip(planes, _LEVELS))
    pairs = (light[:, :, None] * red[:, None]).reshape(len(light), -1, light.shape[2])  # (12, 45, 192)
    sums: Float32Array = (pairs @ yellow.transpose(0, 2, 1)).sum(axis=0)
    return sums.ravel() / np.float32(planes[0].size)


def _level_weights(values: Float32Array, levels: int) -> Float32Array:
    """Divide each value (0 to 1) between the two nearest levels: weights (groups, levels, pixels)."""
    level = np.arange(levels, dtype=np.float32)[:, None]
    scaled = np.clip(values, 0, 1) * np.float32(levels - 1)
    weights: Float32Array = np.maximum(1 - np.abs(scaled[:, None] - level), 0)
    return weights
