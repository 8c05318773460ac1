"""Patterns that are printed: shapes repeated over a lattice."""

from __future__ import annotations

import math

import numpy as np

from lmm_classifier.data.synthetic.fabric import Cloth, Plane, band, centred, fraction, odd

_MEANDER = np.array(
    [
        [int(stitch == "#") for stitch in row]
        for row in (
            "########",
            "........",
            "#######.",
            "#.....#.",
            "#.###.#.",
            "#.#...#.",
            "#.#####.",
            "#.......",
            "########",
            "........",
        )
    ],
    np.bool_,
)
_ROOT_3 = np.float32(np.sqrt(3))


def checkerboard(cloth: Cloth) -> Plane:
    """Squares of two colours in turn."""
    return cloth.paint(odd(*cloth.lattice(5, 13)))


def diamonds(cloth: Cloth) -> Plane:
    """A harlequin's lozenges, taller than wide, some rows in a third colour."""
    u, v = cloth.lattice(3, 7, stretch=float(cloth.rng.uniform(0.5, 0.75)))
    lozenges = odd(u + v, u - v)
    if cloth.rng.random() < 0.6:
        return cloth.paint(lozenges)
    return cloth.paint(lozenges, lozenges & (odd(u + v) ^ odd(u + 0.5)))


def argyle(cloth: Cloth) -> Plane:
    """Lozenges in columns of two colours, crossed by thin slanting lines through their middles."""
    u, v = cloth.lattice(2.6, 5.5, stretch=float(cloth.rng.uniform(0.55, 0.8)))
    lozenges = np.abs(centred(u)) + np.abs(centred(v)) < 0.5
    second = lozenges & odd(u + 0.5)
    width = cloth.rng.uniform(0.035, 0.06)
    lines = (np.abs(centred(u + v)) < width) | (np.abs(centred(u - v)) < width)
    return cloth.paint(lozenges, second, lines)


def chevron(cloth: Cloth) -> Plane:
    """Bands that run up and down in points, unbroken."""
    u, v = cloth.lattice(2.5, 6)
    rise, bands = cloth.rng.uniform(0.7, 1.2), cloth.rng.uniform(1.2, 2.2)
    return cloth.paint(band((v + rise * np.abs(centred(u))) * bands, cloth.rng.uniform(0.42, 0.58)))


def polka_dots(cloth: Cloth) -> Plane:
    """Round dots, large, in staggered rows."""
    return _dots(cloth, 2.6, 6, cloth.rng.uniform(0.19, 0.29))


def pin_dots(cloth: Cloth) -> Plane:
    """Round dots, tiny, in staggered rows."""
    return _dots(cloth, 5, 10, cloth.rng.uniform(0.11, 0.18))


def honeycomb(cloth: Cloth) -> Plane:
    """Hexagons with a wall between them."""
    u, v = cloth.lattice(4, 9)
    first = _hexagon(centred(u), centred(v / _ROOT_3) * _ROOT_3)
    second = _hexagon(centred(u + 0.5), centred(v / _ROOT_3 + 0.5) * _ROOT_3)
    out = np.minimum(first, second)  # 0 in the middle of a cell, 0.5 on its wall
    return cloth.paint(out > 0.5 - cloth.rng.uniform(0.06, 0.12))


def triangles(cloth: Cloth) -> Plane:
    """Rows of triangles, point up and point down in turn."""
    u, v = cloth.lattice(3.5, 8, stretch=1.1)
    slanted = u - 0.5 * v
    up = fraction(slanted) + fraction(v) < 1
    if cloth.rng.random() < 0.6:
        return cloth.paint(up)
    return cloth.paint(up, up & odd(slanted, v))


def scallops(cloth: Cloth) -> Plane:
    """Overlapping scales, plain with a rim or ringed like waves."""
    if cloth.rng.random() < 0.5:
        out = _front_disc(*cloth.lattice(3.5, 8), spacing=0.5)
        return cloth.paint(out > 0.5 - cloth.rng.uniform(0.06, 0.1))
    out = _front_disc(*cloth.lattice(2.5, 5), spacing=0.25)
    return cloth.paint(band(out * (2 * int(cloth.rng.integers(3, 5))) + 0.5, 0.5))


def ogee(cloth: Cloth) -> Plane:
    """Onion shapes between two waving lines, a smaller one inside each."""
    u, v = cloth.lattice(2.4, 5, stretch=float(cloth.rng.uniform(0.6, 0.8)))
    out = np.abs(centred(u)) - 0.25 - 0.24 * np.cos(math.tau * v)  # below 0 in one column, above 0 in the next
    depth = np.abs(out)
    line, core = cloth.rng.uniform(0.03, 0.06), cloth.rng.uniform(0.18, 0.26)
    return cloth.paint(depth < line, depth > core, depth > core + 0.12)


def quatrefoil(cloth: Cloth) -> Plane:
    """Four-lobed tiles, outlined, in rows."""
    u, v = cloth.lattice(2.6, 5.5)
    x, y = np.abs(centred(u)), np.abs(centred(v))
    out = np.sqrt(np.minimum(_square(x - 0.21, y), _square(x, y - 0.21))) - 0.2  # 0 on the outline
    rim = cloth.rng.uniform(0.035, 0.06)
    if cloth.rng.random() < 0.5:
        return cloth.paint(np.abs(out) < rim)
    return cloth.paint(out < rim, out < -rim)


def greek_key(cloth: Cloth) -> Plane:
    """A meander that turns into itself, in rows between two rules."""
    rows, columns = _MEANDER.shape
    u, v = cloth.lattice(3.2, 6, stretch=columns / rows)
    i, j = (fraction(u) * columns).astype(np.int32), (fraction(v) * rows).astype(np.int32)
    return cloth.paint(_MEANDER[np.minimum(j, rows - 1), np.minimum(i, columns - 1)])


def _dots(cloth: Cloth, fewest: float, most: float, radius: float) -> Plane:
    u, v = cloth.lattice(fewest, most)
    first, second = _square(centred(u), centred(v)), _square(centred(u + 0.5), centred(v + 0.5))
    return cloth.paint(np.minimum(first, second) < radius**2)


def _square(x: Plane, y: Plane) -> Plane:
    """Squared distance from the origin."""
    return x * x + y * y


def _hexagon(x: Plane, y: Plane) -> Plane:
    """How far out a point lies, in hexagons: 0.5 on the one whose sides are 1 apart."""
    return np.maximum(np.abs(x), np.abs(x) * np.float32(0.5) + np.abs(y) * (_ROOT_3 / 2))


def _front_disc(u: Plane, v: Plane, spacing: float) -> Plane:
    """How far a point lies from the middle of the foremost disc over it, 0..0.5; lower rows lie in front."""
    rows = np.floor(v / spacing)
    reach = int(0.5 / spacing)  # rows below that still cover the point; the next one up covers what they leave
    out: Plane = np.full_like(u, 0.25)  # squared
    for step in range(reach - 2, reach + 1):
        row = rows + step
        distance = _square(centred(u + 0.5 * row), v - spacing * row)
        out = np.where(distance < 0.25, distance, out)
    return np.sqrt(out)
