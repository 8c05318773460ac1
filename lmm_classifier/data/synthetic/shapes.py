"""Eight drawn shapes, simple enough for a tiny vision-language model; color, place, scale and noise vary.

The tiny Qwen2-VL checkpoint of the tests was trained on these pixels, so a change here needs a new checkpoint.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lmm_classifier.core.arrays import Float64Array

SHAPES = ("hstripes", "vstripes", "checker", "circle", "cross", "dots", "triangle", "diagonal")

_MIN_CONTRAST = 0.3  # mean difference of ink and paper over the three channels, 0 to 1
_NOISE = 0.04  # standard deviation per channel, of 0 to 1


def draw_shape(label: str, rng: np.random.Generator, size: int = 56) -> Image.Image:
    """Draw one RGB image of the shape `label`, `size` x `size` pixels.

    Args:
        label: one of `SHAPES`.
        rng: source of color, place, scale and noise; the same state draws the same pixels.
        size: pixels of a side.

    Raises:
        ValueError: if there is no such shape.

    Example:
        >>> import numpy as np
        >>> from lmm_classifier.data.synthetic.shapes import draw_shape
        >>> draw_shape("circle", np.random.default_rng(0)).size
        (56, 56)
    """
    y, x = np.mgrid[0:size, 0:size].astype(float)
    ink, paper = _colors(rng)
    mask = _mask(label, x, y, rng, size)[..., None]  # (size, size, 1)
    pixels = ink * mask + paper * (1 - mask) + rng.normal(0, _NOISE, (size, size, 3))
    return Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8))


def draw_labeled(per_class: int, seed: int) -> list[tuple[str, Image.Image]]:
    """Draw `per_class` images of each shape: pairs of label and image, all shapes in turn."""
    rng = np.random.default_rng(seed)
    return [(label, draw_shape(label, rng)) for _ in range(per_class) for label in SHAPES]


def _colors(rng: np.random.Generator) -> tuple[Float64Array, Float64Array]:
    """Return ink and paper, (3,) each, 0 to 1, with enough contrast."""
    while True:
        ink, paper = rng.random((2, 3))
        if np.abs(ink - paper).mean() > _MIN_CONTRAST:
            return ink, paper


def _mask(label: str, x: Float64Array, y: Float64Array, rng: np.random.Generator, size: int) -> Float64Array:
    """Return where the ink is, (size, size), 0 or 1; x and y are pixel coordinates of the same shape."""
    width = rng.uniform(8, 16)
    phase = rng.uniform(0, 2 * width)
    cx, cy = rng.uniform(0.38 * size, 0.62 * size, 2)
    radius = rng.uniform(0.2 * size, 0.36 * size)
    dx, dy = np.abs(x - cx), np.abs(y - cy)
    inked: NDArray[np.bool_]
    match label:
        case "hstripes":
            inked = (y + phase) // width % 2 > 0
        case "vstripes":
            inked = (x + phase) // width % 2 > 0
        case "checker":
            inked = ((x + phase) // width + (y + phase) // width) % 2 > 0
        case "circle":
            inked = dx**2 + dy**2 < radius**2
        case "cross":
            bar, arm = radius * 0.38, radius * 1.2
            inked = ((dx < bar) & (dy < arm)) | ((dy < bar) & (dx < arm))
        case "dots":
            step = width * 1.1
            u, v = (x + phase) % step - step / 2, (y + phase) % step - step / 2
            inked = u**2 + v**2 < (step * 0.3) ** 2
        case "triangle":
            inked = (y < cy + radius * 0.8) & (y > cy - radius) & (dx < (y - (cy - radius)) * 0.62)
        case "diagonal":
            inked = (x + y + phase) // (width * 1.3) % 2 > 0
        case _:
            raise ValueError(f"There is no shape {label!r}: expected one of {', '.join(SHAPES)}")
    return inked.astype(np.float64)
