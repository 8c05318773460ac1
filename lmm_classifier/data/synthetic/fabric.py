"""The cloth that patterns are drawn on: its coordinates, its dyes and the light of the photograph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Plane = NDArray[np.floating[Any]]  # float32; the type is wider because numpy's stubs widen it
Mask = NDArray[Any]  # bool, or float32 from 0 to 1 for a fraction of the dye

_FINE = 2  # patterns are drawn this many times larger and reduced, which softens their edges

# OKLab to linear sRGB: B. Ottosson, "A perceptual color space for image processing", 2020
_LAB_TO_LMS = np.array(
    [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.707614701],
    ]
)
# lightness and chroma in OKLab: least, most, least, most
_TONES = {"light": (0.86, 0.97, 0.005, 0.06), "middle": (0.55, 0.74, 0.05, 0.15), "dark": (0.24, 0.44, 0.02, 0.12)}
_GROUND_AND_INK = (("light", "dark"), ("light", "middle"), ("dark", "light"), ("middle", "light"), ("dark", "middle"))
_HARMONIES = (0.0, 0.5, 2.1, math.pi, 3.7)  # radians of hue between ground and ink: similar, triad, opposite


@dataclass(frozen=True, slots=True)
class Cloth:
    """A square piece of cloth: the position of its points in the image, and its dyes.

    `x` and `y` are -0.5 to 0.5 of the image, slightly warped; both are (fine, fine), fine = 2 * size. `dyes` are sRGB
    values, 0 to 1, (5, 3): the ground, the ink, and three matching ones.
    """

    rng: np.random.Generator
    x: Plane
    y: Plane
    dyes: Plane

    @classmethod
    def cut(cls, rng: np.random.Generator, size: int) -> Cloth:
        """Choose the dyes and the coordinates of a cloth, slightly warped and slightly in perspective."""
        line = (np.arange(size * _FINE, dtype=np.float32) + 0.5) / (size * _FINE) - 0.5
        x, y = line[None, :], line[:, None]
        bent_x = x * (1 + rng.uniform(-0.12, 0.12) * y) + _wave(rng, y)
        bent_y = y * (1 + rng.uniform(-0.12, 0.12) * x) + _wave(rng, x)
        return cls(rng, bent_x, bent_y, _choose_dyes(rng))

    @property
    def fine(self) -> int:
        """Number of drawn pixels a side, before the reduction."""
        return len(self.x)

    def lattice(self, fewest: float, most: float, stretch: float = 1.0, tilt: float = 0.13) -> tuple[Plane, Plane]:
        """Return coordinates across and down that grow by one per repeat of the pattern, both (fine, fine).

        Between `fewest` and `most` repeats fit across the image, and `stretch` times as many down. `tilt` is the
        standard deviation of the rotation in radians.
        """
        repeats = math.exp(self.rng.uniform(math.log(fewest), math.log(most)))
        angle, aspect = self.rng.normal(0, tilt), stretch * math.exp(self.rng.normal(0, 0.07))
        cos, sin = math.cos(angle) * repeats, math.sin(angle) * repeats
        u, v = cos * self.x, cos * aspect * self.y
        u += sin * self.y
        v -= sin * aspect * self.x
        u += self.rng.uniform(0, 64)
        v += self.rng.uniform(0, 64)
        return u, v

    def paint(self, *masks: Mask, shade: Mask | None = None) -> Plane:
        """Dye the ground with one dye per mask, in order, then darken it by `shade` (1: unchanged); (size, size, 3)."""
        drawn = np.broadcast_to(self.dyes[0], (self.fine // _FINE, self.fine // _FINE, 3)).copy()
        for dye, mask in zip(self.dyes[1:], masks, strict=False):
            drawn += _reduced(mask)[..., None] * (dye - drawn)
        return drawn if shade is None else drawn * _reduced(shade)[..., None]


def fraction(x: Plane) -> Plane:
    """Return the position inside a repeat, 0 to 1."""
    whole = np.floor(x)
    return np.subtract(x, whole, out=whole)


def centered(x: Plane) -> Plane:
    """Return the position relative to the nearest whole number, -0.5 to 0.5."""
    whole = np.rint(x)
    return np.subtract(x, whole, out=whole)


def band(x: Plane, width: float) -> Mask:
    """Return a mask with one band per repeat; `width` is the fraction of the repeat that it covers."""
    return fraction(x) < width


def odd(*counts: Plane) -> Mask:
    """Return a mask of every second field of a board: where the whole parts add up to an odd number."""
    total = np.add.reduce([np.floor(count) for count in counts])
    return fraction(total * np.float32(0.5)) > 0.25


def noise(rng: np.random.Generator, fine: int, cells: int, octaves: int = 1) -> Plane:
    """Return smooth noise (fine, fine), about -2 to 2, with hills of 1/cells of the image; each octave halves them."""
    total = np.zeros((fine, fine), np.float32)
    for octave in range(octaves):
        grid = rng.standard_normal((cells * 2**octave + 2,) * 2, dtype=np.float32)
        total += np.asarray(Image.fromarray(grid).resize((fine, fine), Image.Resampling.BICUBIC)) / 2**octave
    return total


def photograph(drawn: Plane, rng: np.random.Generator) -> Image.Image:
    """Photograph painted cloth (size, size, 3): threads, soft folds, light from one side, grain, slight blur."""
    size = len(drawn)
    line = np.arange(size, dtype=np.float32) / size - 0.5
    x, y = line[None, :], line[:, None]
    light = _light(rng, x, y) * _threads(rng, size) + _grain(rng, size)  # (size, size)
    lit = np.clip(drawn * light[..., None], 0, 1)
    image = Image.fromarray((lit * 255 + 0.5).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.9)) * size / 160))


def _wave(rng: np.random.Generator, line: Plane) -> Plane:
    """Bend a line of coordinates by up to about a hundredth of the image."""
    rate, start, height = rng.uniform(0.6, 1.8), rng.uniform(0, math.tau), rng.uniform(0, 0.012)
    return np.asarray(height * np.sin(math.tau * rate * line + start), np.float32)


def _light(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    angle, fold_angle = rng.uniform(0, math.tau), rng.uniform(0, math.tau)
    rate = math.tau * rng.uniform(0.7, 2.5)
    phase = rate * math.cos(fold_angle) * x + (rate * math.sin(fold_angle) * y + rng.uniform(0, math.tau))
    slope, depth, level = rng.uniform(0, 0.35), rng.uniform(0, 0.08), rng.uniform(0.8, 1.08)
    side = (1 + slope * math.cos(angle) * x) + slope * math.sin(angle) * y
    return np.asarray(level * (side + depth * np.sin(phase)), np.float32)


def _threads(rng: np.random.Generator, size: int) -> Plane:
    """Shade a plain weave, its threads 2 to 4 pixels wide."""
    line = np.arange(size, dtype=np.float32)[None, :]
    across, down = (np.sin(math.tau / rng.uniform(2, 4) * line) for _ in range(2))
    return np.asarray(1 + rng.uniform(0, 0.07) * across * down.T, np.float32)


def _grain(rng: np.random.Generator, size: int) -> Plane:
    return rng.standard_normal((size, size), dtype=np.float32) * np.float32(rng.uniform(0.005, 0.05))


def _reduced(mask: Mask) -> Plane:
    """Average each 2x2 block, (fine, fine) to (size, size)."""
    corners = [mask[row::_FINE, column::_FINE].astype(np.float32) for row in range(_FINE) for column in range(_FINE)]
    return np.asarray(sum(corners) / np.float32(_FINE * _FINE), np.float32)


def _choose_dyes(rng: np.random.Generator) -> Plane:
    ground, ink = _GROUND_AND_INK[rng.integers(len(_GROUND_AND_INK))]
    rest = [tone for tone in _TONES if tone not in (ground, ink)]
    tones = [ground, ink, rest[0], ground, ink]
    hue, step = rng.uniform(0, math.tau), _HARMONIES[rng.integers(len(_HARMONIES))]
    hues = hue + np.array([0, step, 2 * step + 0.6, 0.4, step + 2.4]) + rng.normal(0, 0.1, 5)
    low_light, high_light, low_chroma, high_chroma = np.array([_TONES[tone] for tone in tones]).T
    lightness, chroma = rng.uniform(low_light, high_light), rng.uniform(low_chroma, high_chroma)
    return _srgb(np.stack([lightness, chroma * np.cos(hues), chroma * np.sin(hues)], -1))


def _srgb(lab: NDArray[np.float64]) -> Plane:
    """Convert OKLab colors (n, 3) to sRGB, clipped to 0 to 1."""
    linear = np.clip((lab @ _LAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T, 0, 1)
    dyes = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(dyes, np.float32)
