"""Woven patterns: colored threads across and down, one of them on top at each point."""

from __future__ import annotations

import numpy as np

from lmm_classifier.data.synthetic.fabric import Cloth, Mask, Plane, band, centered, fraction, odd


def stripes(cloth: Cloth) -> Plane:
    """Broad bands in one direction, some with a thin band in a third color."""
    u = _either_way(cloth, 3.5, 9)
    width = cloth.rng.uniform(0.34, 0.62)
    if cloth.rng.random() < 0.6:
        return cloth.paint(band(u, width))
    return cloth.paint(band(u, width), band(u - width - (1 - width) * 0.35, (1 - width) * 0.3))


def pinstripe(cloth: Cloth) -> Plane:
    """Hairlines in one direction on a plain ground."""
    u = _either_way(cloth, 6, 15)
    return cloth.paint(band(u, cloth.rng.uniform(0.09, 0.22)))


def gingham(cloth: Cloth) -> Plane:
    """Equal bands in both directions: full color where they cross, half the color elsewhere on a band."""
    u, v = cloth.lattice(3.5, 9)
    half = np.float32(cloth.rng.uniform(0.42, 0.58))
    return cloth.paint((band(u, 0.5) ^ band(v, 0.5)) * half + (band(u, 0.5) & band(v, 0.5)))


def tartan(cloth: Cloth) -> Plane:
    """A mirrored order of colored threads, the same in both directions, crossed in a 2/2 twill."""
    u, v = cloth.lattice(1.4, 2.8)
    order = _sett(cloth.rng)
    n = len(order)
    i, j = (fraction(u) * n).astype(np.int32), (fraction(v) * n).astype(np.int32)
    over = ((i + j) & 3) < 2
    dye = np.where(over, order[np.minimum(i, n - 1)], order[np.minimum(j, n - 1)])
    return cloth.paint(*(dye == k for k in range(1, 5)))


def windowpane(cloth: Cloth) -> Plane:
    """Thin lines in both directions, far apart, sometimes doubled in a third color."""
    u, v = cloth.lattice(3, 7, stretch=float(cloth.rng.uniform(0.75, 1.1)))
    width = cloth.rng.uniform(0.05, 0.13)
    lines = band(u, width) | band(v, width)
    if cloth.rng.random() < 0.6:
        return cloth.paint(lines)
    return cloth.paint(lines, band(u - 0.5, width * 0.7) | band(v - 0.5, width * 0.7))


def houndstooth(cloth: Cloth) -> Plane:
    """Four dark and four light threads in both directions in a 2/2 twill: a broken check with teeth."""
    u, v = cloth.lattice(3.5, 8)
    if cloth.rng.random() < 0.5:
        u = -u
    return cloth.paint(np.where(band(2 * (u + v), 0.5), band(u, 0.5), band(v, 0.5)))


def herringbone(cloth: Cloth) -> Plane:
    """Columns of twill with alternating slant, the ribs broken between the columns."""
    u, v = cloth.lattice(3.5, 8)
    ribs, slope = cloth.rng.uniform(2.0, 3.2), cloth.rng.uniform(0.8, 1.2)
    turned = odd(2 * u)
    across = fraction(2 * u) - 0.5  # -0.5 to 0.5 inside a column
    slant = np.where(turned, across, -across) * np.float32(0.5 * slope)
    return cloth.paint(band((v + slant) * ribs + turned * np.float32(0.5), cloth.rng.uniform(0.42, 0.58)))


def basket_weave(cloth: Cloth) -> Plane:
    """Flat bundles of threads that pass over one bundle and under the next, with shaded edges."""
    u, v = cloth.lattice(4, 9)
    bundle = int(cloth.rng.integers(2, 5))
    upright = odd(u, v)
    across, along = np.where(upright, u, v), np.where(upright, v, u)
    thread = np.abs(centered(across * bundle))  # 0 in the center of a thread, 0.5 at its edge
    end = np.abs(centered(along + 0.5))  # 0 on top of the bundle, 0.5 where it passes under
    shade = 1 - 0.55 * np.square(np.square(2 * thread)) - 4 * end * end * end
    strength = cloth.rng.uniform(0.25, 1.0)  # difference in color between the two directions
    return cloth.paint(upright * np.float32(strength), shade=shade)


def _either_way(cloth: Cloth, fewest: float, most: float) -> Plane:
    u, v = cloth.lattice(fewest, most)
    return u if cloth.rng.random() < 0.7 else v


def _sett(rng: np.random.Generator) -> Mask:
    """Draw the order of the threads of a tartan: indices of dyes, mirrored at both ends."""
    widths = rng.permutation([10, 8, 6, 3, 2, 1])[: rng.integers(4, 7)] * 2
    dyes = rng.permutation([0, 1, 2, 0, 3, 1])[: len(widths)]
    half = np.repeat(dyes, widths)
    return np.concatenate([half, half[::-1]])
