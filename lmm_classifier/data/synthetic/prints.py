"""Printed patterns: shapes repeated over a lattice."""

from __future__ import annotations

import math

import numpy as np

from lmm_classifier.data.synthetic.fabric import Cloth, Plane, band, centered, fraction, odd

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
    """Squares of two alternating colors."""
    return cloth.paint(odd(*cloth.lattice(5, 13)))


def diamonds(cloth: Cloth) -> Plane:
    """A harlequin's lozenges, taller than wide, some rows in a third color."""
    u, v = cloth.lattice(3, 7, stretch=float(cloth.rng.uniform(0.5, 0.75)))
    lozenges = odd(u + v, u - v)
    if cloth.rng.random() < 0.6:
        return cloth.paint(lozenges)
    return cloth.paint(lozenges, lozenges & (odd(u + v) ^ odd(u + 0.5)))


def argyle(cloth: Cloth) -> Plane:
    """Lozenges in columns of two colors, crossed by thin slanting lines through their centers."""
    u, v = cloth.lattice(2.6, 5.5, stretch=float(cloth.rng.uniform(0.55, 0.8)))
    lozenges = np.abs(centered(u)) + np.abs(centered(v)) < 0.5
    second = lozenges & odd(u + 0.5)
    width = cloth.rng.uniform(0.035, 0.06)
    lines = (np.abs(centered(u + v)) < width) | (np.abs(centered(u - v)) < width)
    return cloth.paint(lozenges, second, lines)


def chevron(cloth: Cloth) -> Plane:
    """Unbroken zigzag bands."""
    u, v = cloth.lattice(2.5, 6)
    rise, bands = cloth.rng.uniform(0.7, 1.2), cloth.rng.uniform(1.2, 2.2)
    return cloth.paint(band((v + rise * np.abs(centered(u))) * bands, cloth.rng.uniform(0.42, 0.58)))


def polka_dots(cloth: Cloth) -> Plane:
    """Large round dots in staggered rows."""
    return _dots(cloth, 2.6, 6, cloth.rng.uniform(0.19, 0.29))


def pin_dots(cloth: Cloth) -> Plane:
    """Tiny round dots in staggered rows."""
    return _dots(cloth, 5, 10, cloth.rng.uniform(0.11, 0.18))


def honeycomb(cloth: Cloth) -> Plane:
    """Hexagons with a wall between them."""
    u, v = cloth.lattice(4, 9)
    first = _hexagon(centered(u), centered(v / _ROOT_3) * _ROOT_3)
    second = _hexagon(centered(u + 0.5), centered(v / _ROOT_3 + 0.5) * _ROOT_3)
    distance = np.minimum(first, second)  # 0 in the center of a cell, 0.5 on its wall
    return cloth.paint(distance > 0.5 - cloth.rng.uniform(0.06, 0.12))


def triangles(cloth: Cloth) -> Plane:
    """Rows of triangles, pointing up and down alternately."""
    u, v = cloth.lattice(3.5, 8, stretch=1.1)
    slanted = u - 0.5 * v
    up = fraction(slanted) + fraction(v) < 1
    if cloth.rng.random() < 0.6:
        return cloth.paint(up)
    return cloth.paint(up, up & odd(slanted, v))


def scallops(cloth: Cloth) -> Plane:
    """Overlapping scales, plain with a rim or ringed like waves."""
    if cloth.rng.random() < 0.5:
        distance = _front_disc(*cloth.lattice(3.5, 8), spacing=0.5)
        return cloth.paint(distance > 0.5 - cloth.rng.uniform(0.06, 0.1))
    distance = _front_disc(*cloth.lattice(2.5, 5), spacing=0.25)
    return cloth.paint(band(distance * (2 * int(cloth.rng.integers(3, 5))) + 0.5, 0.5))


def ogee(cloth: Cloth) -> Plane:
    """Onion shapes between two waving lines, a smaller one inside each."""
    u, v = cloth.lattice(2.4, 5, stretch=float(cloth.rng.uniform(0.6, 0.8)))
    distance = np.abs(centered(u)) - 0.25 - 0.24 * np.cos(math.tau * v)  # below 0 in one column, above in the next
    depth = np.abs(distance)
    line, core = cloth.rng.uniform(0.03, 0.06), cloth.rng.uniform(0.18, 0.26)
    return cloth.paint(depth < line, depth > core, depth > core + 0.12)


def quatrefoil(cloth: Cloth) -> Plane:
    """Four-lobed tiles, outlined, in rows."""
    u, v = cloth.lattice(2.6, 5.5)
    x, y = np.abs(centered(u)), np.abs(centered(v))
    distance = np.sqrt(np.minimum(_square(x - 0.21, y), _square(x, y - 0.21))) - 0.2  # 0 on the outline
    rim = cloth.rng.uniform(0.035, 0.06)
    if cloth.rng.random() < 0.5:
        return cloth.paint(np.abs(distance) < rim)
    return cloth.paint(distance < rim, distance < -rim)


def greek_key(cloth: Cloth) -> Plane:
    """A meander of square spirals, in rows between two lines."""
    rows, columns = _MEANDER.shape
    u, v = cloth.lattice(3.2, 6, stretch=columns / rows)
    i, j = (fraction(u) * columns).astype(np.int32), (fraction(v) * rows).astype(np.int32)
    return cloth.paint(_MEANDER[np.minimum(j, rows - 1), np.minimum(i, columns - 1)])


def _dots(cloth: Cloth, fewest: float, most: float, radius: float) -> Plane:
    u, v = cloth.lattice(fewest, most)
    first, second = _square(centered(u), centered(v)), _square(centered(u + 0.5), centered(v + 0.5))
    return cloth.paint(np.minimum(first, second) < radius**2)


def _square(x: Plane, y: Plane) -> Plane:
    """Return the squared distance from the origin."""
    return x * x + y * y


def _hexagon(x: Plane, y: Plane) -> Plane:
    """Return the hexagonal distance from the origin: 0.5 on the hexagon whose opposite sides are 1 apart."""
    return np.maximum(np.abs(x), np.abs(x) * np.float32(0.5) + np.abs(y) * (_ROOT_3 / 2))


def _front_disc(u: Plane, v: Plane, spacing: float) -> Plane:
    """Return the distance of a point to the center of the foremost disc over it, 0 to 0.5; lower rows are in front."""
    rows = np.floor(v / spacing)
    reach = int(0.5 / spacing)  # rows below that can cover the point; the next row above covers the rest
    nearest: Plane = np.full_like(u, 0.25)  # squared
    for step in range(reach - 2, reach + 1):
        row = rows + step
        distance = _square(centered(u + 0.5 * row), v - spacing * row)
        nearest = np.where(distance < 0.25, distance, nearest)
    return np.sqrt(nearest)
