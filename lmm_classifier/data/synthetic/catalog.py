"""Pattern pictures drawn on the spot, so that the whole program can be tried without a data set.

`KNOWN` are the classes of the demo's corpus; `UNKNOWN` are shown to it only as strangers. Colour, scale, tilt, place,
light and noise change from picture to picture, so that only the pattern itself tells the class.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

import numpy as np
from PIL import Image

from lmm_classifier.data.synthetic import prints, weaves
from lmm_classifier.data.synthetic import unknowns as strangers
from lmm_classifier.data.synthetic.fabric import Cloth, Plane, photograph

_MIN_SIZE = 16  # pixels; under this no pattern is left to see

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
    "camouflage": strangers.camouflage,
    "floral": strangers.floral,
    "leopard": strangers.leopard,
    "marble": strangers.marble,
    "terrazzo": strangers.terrazzo,
}
_ALL = {**_KNOWN, **_UNKNOWN}

KNOWN: tuple[str, ...] = tuple(_KNOWN)
UNKNOWN: tuple[str, ...] = tuple(_UNKNOWN)


def draw(label: str, rng: np.random.Generator, size: int = 160) -> Image.Image:
    """Draw one RGB picture, `size` pixels square, of the pattern `label`; the same generator state draws the same one.

    Raises ValueError for a name that is in neither `KNOWN` nor `UNKNOWN`, and for a size under 16.
    """
    if label not in _ALL:
        close = get_close_matches(label, _ALL, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(_ALL)}"
        raise ValueError(f"no pattern is called {label!r}: {hint}")
    if size < _MIN_SIZE:
        raise ValueError(f"a pattern needs at least {_MIN_SIZE} pixels a side, got {size}")
    cloth = Cloth.cut(rng, size)
    return photograph(_ALL[label](cloth), rng)
