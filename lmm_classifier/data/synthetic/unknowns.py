"""Patterns without a strict repeat, which are not in the demo's dataset."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lmm_classifier.data.synthetic.fabric import Cloth, Plane, noise

Numbers = NDArray[np.float64]


def camouflage(cloth: Cloth) -> Plane:
    """Blots of four colors on top of one another."""
    cells = int(cloth.rng.integers(4, 8))
    levels = (-0.1, 0.45, 0.8)
    return cloth.paint(*(noise(cloth.rng, cloth.fine, cells, octaves=2) > level for level in levels))


def marble(cloth: Cloth) -> Plane:
    """Broad and fine veins on a polished ground."""
    u, v = cloth.lattice(1.2, 2.2, tilt=0.8)
    clouds = noise(cloth.rng, cloth.fine, 3, octaves=3)
    broad = 1 - np.abs(np.sin(math.pi * (u + 0.3 * v) + 1.6 * clouds))
    fine = 1 - np.abs(np.sin(2.3 * math.pi * v - 1.9 * clouds))
    return cloth.paint(np.square(np.square(broad)), 0.6 * np.square(np.square(np.square(fine))))


def terrazzo(cloth: Cloth) -> Plane:
    """Large and small angular chips of stone, scattered over a plain ground."""
    centers, spacing = _scattered(cloth, 5, 10)
    n, rng = len(centers), cloth.rng
    radii = spacing * rng.uniform(0.12, 0.62, (n, 1)) * rng.uniform(0.6, 1.2, (n, 5))
    chips = centers[:, None] + _around(radii, rng.uniform(0, math.tau, n))
    return _painted(cloth, [(chip, dye) for chip, dye in zip(chips, rng.integers(1, 5, n), strict=True)])


def leopard(cloth: Cloth) -> Plane:
    """Rings of dark blots around a tinted center."""
    centers, spacing = _scattered(cloth, 4, 8)
    n, rng = len(centers), cloth.rng
    spots = centers[:, None] + _around(spacing * rng.uniform(0.2, 0.36, (n, 9)), np.zeros(n))
    shapes: list[tuple[Numbers, int]] = [(spot, 2) for spot in spots]
    for center, start in zip(centers, rng.uniform(0, math.tau, n), strict=True):
        pieces = int(rng.integers(2, 5))
        angles = start + np.arange(pieces) * math.tau / pieces + rng.uniform(-0.3, 0.3, pieces)
        arcs = center + _arcs(angles, spacing * rng.uniform(0.26, 0.36, pieces), 2.4 / pieces, spacing * 0.1)
        shapes += [(arc, 1) for arc in arcs]
    return _painted(cloth, shapes)


def floral(cloth: Cloth) -> Plane:
    """Small scattered flowers of five or six petals with two leaves."""
    centers, spacing = _scattered(cloth, 3.5, 7)
    n, rng = len(centers), cloth.rng
    sizes, turns = spacing * rng.uniform(0.26, 0.46, n), rng.uniform(0, math.tau, n)
    angles = np.linspace(0, math.tau, 48, endpoint=False)
    petals = 0.35 + 0.65 * np.sqrt(np.abs(np.cos(angles * rng.integers(5, 7) / 2)))
    leaves = 1.45 * np.abs(np.cos(angles)) ** 6
    shapes: list[tuple[Numbers, int]] = []
    for outline, dye, turn in ((leaves, 2, 0.5), (petals, 1, 0.0), (np.full(48, 0.27), 4, 0.0)):
        shapes += [(shape, dye) for shape in centers[:, None] + _around(sizes[:, None] * outline, turns + turn)]
    return _painted(cloth, shapes)


def _scattered(cloth: Cloth, fewest: float, most: float) -> tuple[Numbers, float]:
    """Return jittered positions in staggered rows, (n, 2) in drawn pixels, and the distance between rows."""
    cells = round(cloth.rng.uniform(fewest, most))
    row, column = np.mgrid[-1 : cells + 1, -1 : cells + 1].reshape(2, -1)
    positions = np.stack([column + 0.5 * (row % 2), row], 1) + 0.5 + cloth.rng.uniform(-0.24, 0.24, (len(row), 2))
    spacing = cloth.fine / cells
    return positions * spacing, spacing


def _around(radii: Numbers, turns: Numbers) -> Numbers:
    """Return the corners of closed shapes about the origin, (n, k, 2), from radii (n, k) and rotations (n,)."""
    angles = turns[:, None] + np.linspace(0, math.tau, radii.shape[1], endpoint=False)
    return _at(radii, angles)


def _arcs(angles: Numbers, radii: Numbers, half: float, width: float) -> Numbers:
    """Return the corners of tapered arcs about the origin, (n, 12, 2); `half` is half their angle."""
    t = np.linspace(-1, 1, 6)
    thick = width * (0.3 + 0.7 * np.sqrt(1 - t**2))
    rays = angles[:, None] + half * 0.78 * t  # (n, 6)
    radii = np.concatenate([radii[:, None] - thick, (radii[:, None] + thick)[:, ::-1]], 1)  # (n, 12)
    rays = np.concatenate([rays, rays[:, ::-1]], 1)
    return _at(radii, rays)


def _at(radii: Numbers, angles: Numbers) -> Numbers:
    """Convert polar coordinates, (n, k) and (n, k), to Cartesian ones, (n, k, 2)."""
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], -1)


def _painted(cloth: Cloth, shapes: list[tuple[Numbers, int]]) -> Plane:
    """Draw closed shapes in order, each in the dye of its number."""
    image = Image.new("L", (cloth.fine, cloth.fine))
    pen = ImageDraw.Draw(image)
    for corners, dye in shapes:
        pen.polygon(corners.ravel().tolist(), fill=int(dye))
    dyes = np.asarray(image)
    return cloth.paint(*(dyes == number for number in range(1, 5)))
