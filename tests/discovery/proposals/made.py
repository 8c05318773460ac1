"""Made images: known labels and new ones are directions, with noise around them."""

import numpy as np

from lmm_classifier.discovery.proposals.propose import KnownLabels

DIM, CUT = 24, 0.5
HELD_OUT = np.linspace(-2, 2, 101)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def around(axis, count, seed, noise=0.12):
    """Unit vectors (count, DIM) around one axis."""
    rng = np.random.default_rng((seed, axis))
    return unit(np.eye(DIM)[[axis] * count] + noise * rng.normal(size=(count, DIM)))


def known(labels=3, examples=20):
    """Known labels along the first axes."""
    sums = np.stack([around(label, examples, 100).sum(axis=0, dtype=np.float64) for label in range(labels)])
    return KnownLabels(sums, CUT, HELD_OUT)


def folder(sizes, seed=0):
    """Embeddings, familiarity, names and axes of images; `sizes` has how many of each axis; those from 3 on are new."""
    parts = [around(axis, count, seed) for axis, count in sizes.items()]
    axes = np.repeat(list(sizes), list(sizes.values()))
    rng = np.random.default_rng(seed)
    familiarity = np.where(axes < 3, rng.uniform(-1.5, 2, len(axes)), rng.uniform(-4, -2.1, len(axes)))
    return np.concatenate(parts), familiarity, [f"{row:04}" for row in range(len(axes))], axes
