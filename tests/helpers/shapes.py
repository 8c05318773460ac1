"""Eight drawn classes for the tests of the vision-language reranker: colours, place, scale and noise vary."""

import numpy as np
from PIL import Image

CLASSES = ("hstripes", "vstripes", "checker", "circle", "cross", "dots", "triangle", "diagonal")


def draw(label, rng, size=56):
    """Draw one RGB picture of `label`, size x size pixels."""
    y, x = np.mgrid[0:size, 0:size].astype(float)
    ink, paper = _colours(rng)
    mask = _mask(label, x, y, rng, size)[..., None]
    pixels = ink * mask + paper * (1 - mask) + rng.normal(0, 0.04, (size, size, 3))
    return Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8))


def labelled(per_class, seed):
    """Draw `per_class` pictures of each class: a list of (label, picture), classes in turn."""
    rng = np.random.default_rng(seed)
    return [(label, draw(label, rng)) for _ in range(per_class) for label in CLASSES]


def _colours(rng):
    while True:
        ink, paper = rng.random((2, 3))
        if np.abs(ink - paper).mean() > 0.3:
            return ink, paper


def _mask(label, x, y, rng, size):
    width = rng.uniform(8, 16)
    phase = rng.uniform(0, 2 * width)
    cx, cy = rng.uniform(0.38 * size, 0.62 * size, 2)
    radius = rng.uniform(0.2 * size, 0.36 * size)
    dx, dy = np.abs(x - cx), np.abs(y - cy)
    match label:
        case "hstripes":
            return (y + phase) // width % 2
        case "vstripes":
            return (x + phase) // width % 2
        case "checker":
            return ((x + phase) // width + (y + phase) // width) % 2
        case "circle":
            return (dx**2 + dy**2 < radius**2).astype(float)
        case "cross":
            bar, arm = radius * 0.38, radius * 1.2
            return (((dx < bar) & (dy < arm)) | ((dy < bar) & (dx < arm))).astype(float)
        case "dots":
            step = width * 1.1
            u, v = (x + phase) % step - step / 2, (y + phase) % step - step / 2
            return (u**2 + v**2 < (step * 0.3) ** 2).astype(float)
        case "triangle":
            return ((y < cy + radius * 0.8) & (y > cy - radius) & (dx < (y - (cy - radius)) * 0.62)).astype(float)
        case "diagonal":
            return (x + y + phase) // (width * 1.3) % 2
        case _:
            raise ValueError(f"no class {label!r}: expected one of {', '.join(CLASSES)}")
