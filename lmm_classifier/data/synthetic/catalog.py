"""The drawn patterns by name, to try the whole program without a dataset.

`KNOWN` are the classes of the demo's dataset. `UNKNOWN` are classes outside it. Color, scale, tilt, position, light and
noise change from image to image, so only the pattern itself tells the class.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

import numpy as np
from PIL import Image

from lmm_classifier.data.synthetic import prints, unknowns, weaves
from lmm_classifier.data.synthetic.fabric import Cloth, Plane, photograph

_MIN_SIZE = 16  # pixels; in a smaller image no pattern can be seen

_KNOWN: dict[str, Callable[[Cloth], Plane]] = {
    "argyle": prints.argyle,
    "basket_weave": weaves.basket_weave,
    "checkerboard": prints.checkerboard,
    "chevron": prints.chevron,
    "diamonds": prints.diamonds,
    "gingham": weaves.gingham,
    "greek_key": prints.greek_key,
    "herringbone": weaves.herringbone,
    "honeycomb": prints.honeycomb,
    "houndstooth": weaves.houndstooth,
    "ogee": prints.ogee,
    "pin_dots": prints.pin_dots,
    "pinstripe": weaves.pinstripe,
    "polka_dots": prints.polka_dots,
    "quatrefoil": prints.quatrefoil,
    "scallops": prints.scallops,
    "stripes": weaves.stripes,
    "tartan": weaves.tartan,
    "triangles": prints.triangles,
    "windowpane": weaves.windowpane,
}
_UNKNOWN: dict[str, Callable[[Cloth], Plane]] = {
    "camouflage": unknowns.camouflage,
    "floral": unknowns.floral,
    "leopard": unknowns.leopard,
    "marble": unknowns.marble,
    "terrazzo": unknowns.terrazzo,
}
_ALL = {**_KNOWN, **_UNKNOWN}

KNOWN: tuple[str, ...] = tuple(_KNOWN)
UNKNOWN: tuple[str, ...] = tuple(_UNKNOWN)


def draw(label: str, rng: np.random.Generator, size: int = 160) -> Image.Image:
    """Draw one RGB image of a pattern; the same generator state draws the same image.

    Args:
        label: a name in `KNOWN` or `UNKNOWN`.
        rng: the source of color, scale, tilt, position, light and noise.
        size: pixels a side, at least 16.

    Raises:
        ValueError: no pattern has this name, or the size is under 16.
    """
    if label not in _ALL:
        similar = get_close_matches(label, _ALL, n=1)
        hint = f"did you mean {similar[0]!r}?" if similar else f"choose one of {', '.join(_ALL)}"
        raise ValueError(f"no pattern is called {label!r}: {hint}")
    if size < _MIN_SIZE:
        raise ValueError(f"a pattern needs at least {_MIN_SIZE} pixels a side, got {size}")
    cloth = Cloth.cut(rng, size)
    return photograph(_ALL[label](cloth), rng)
