"""How many labels a class needs for the accuracy that random order reaches with 8, from 2 a class.

In each draw most images are a pool to label, and the others are held out. In every round as many images are labeled as
there are labels; then the index is fitted again, and the order is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.discovery_baselines import typical_first
from benchmarks.discovery_data import FOLDERS, labeled_vectors
from benchmarks.quality_data import LabeledVectors, drawn_rows
from benchmarks.review_order import answers_for, rising
from benchmarks.rows import Better, Row, where
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.discovery.suggestions.options import SuggestionOptions
from lmm_classifier.discovery.suggestions.suggest import suggest
from lmm_classifier.discovery.unlabeled import UnlabeledImages
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.metric import apply_power_normalization
from lmm_classifier.pipeline.classifier import HybridClassifier

COMMAND = "python -m benchmarks.discovery --only next_labels"
DRAWS, QUICK, RESAMPLES = 20, 1, 200
_START, _TARGET, _POOL = 2, 8, 700  # labels of each class at the start, and in random order; images to label
ORDERS = ("random", "suggest", "suggest, by ambiguous", "margin", "TypiClust")


def curve(images: LabeledVectors, order: str, seed: int) -> Float64Array:
    """Return the accuracy on held-out images with `_START` labels a class, one more, ... up to `_TARGET`."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(images.labels))
    pool, held_out = images.at(rows[:_POOL]), images.at(rows[_POOL:])
    labels = len(np.unique(images.labels))
    labeled = drawn_rows(pool.labels, _START, seed)
    accuracies = []
    for count in range(_START, _TARGET + 1):
        index = Index.from_vectors(pool.vectors[labeled], pool.labels[labeled].tolist())
        with HybridClassifier(PipelineConfig.preset("vectors"), index=index) as classifier:
            predicted = _best(classifier, held_out)
            accuracies.append(float((predicted == held_out.labels).mean()))
            if count == _TARGET:
                break
            open_rows = np.setdiff1d(np.arange(_POOL), labeled)
            new = _next(order, pool, labeled, open_rows, classifier, labels, seed + len(labeled))
        labeled = np.sort(np.concatenate([labeled, open_rows[new]]))
    return np.array(accuracies)


def _best(classifier: HybridClassifier, images: LabeledVectors) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    found = UnlabeledImages.of_vectors([f"{row:06}" for row in range(len(images.labels))], images.vectors, classifier)
    return np.array(found.votes.labels)[found.votes.label_ids]


def _next(
    order: str,
    pool: LabeledVectors,
    labeled: IntArray,
    open_rows: IntArray,
    classifier: HybridClassifier,
    count: int,
    seed: int,
) -> IntArray:
    if order == "random":
        return np.random.default_rng(seed).permutation(len(open_rows))[:count]
    if order == "TypiClust":
        raw = _raw(pool)
        return typical_first(raw[open_rows], raw[labeled], count, seed)
    names = [f"{row:06}" for row in range(len(open_rows))]
    images = UnlabeledImages.of_vectors(names, pool.vectors[open_rows], classifier)
    if order == "margin":
        return np.argsort(images.votes.scores - images.votes.second, kind="stable")[:count]
    options = SuggestionOptions(count, by="ambiguous" if order.endswith("ambiguous") else "all")
    return np.array([int(each.path) for each in suggest(images, classifier, options).suggestions], np.int64)


def _raw(pool: LabeledVectors) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows = pool.vectors / np.linalg.norm(pool.vectors, axis=1, keepdims=True)
    return apply_power_normalization(rows, bool((rows >= 0).all()))


def rows(quick: bool) -> list[Row]:
    """Measure every dataset and order."""
    measured = []
    for name in FOLDERS:
        images, draws = labeled_vectors(name), QUICK if quick else DRAWS
        curves = {order: np.array([curve(images, order, seed) for seed in range(draws)]) for order in ORDERS}
        measured += rows_of(name, curves)
    return measured


def rows_of(name: str, curves: dict[str, Float64Array]) -> list[Row]:
    """Return the rows of a dataset, by the accuracies (draws, rounds) of each order."""
    draws = len(curves["random"])
    data = f"{name}, {draws} draws, pool of {_POOL} images, from {_START} labels a class"
    needed, gains = list[Row](), list[Row]()
    for order in ORDERS[1:]:
        value, error = labels_needed(curves[order], curves["random"])
        goal = 5.2 if order.startswith("suggest") else None
        title = f"labels a class for the accuracy of random order's {_TARGET}, {name}, {order}"
        needed.append(_row(title, value, error, "labels a class", goal, data))
        gain = 100 * (curves[order] - curves["random"]).mean(axis=1)
        error = float(gain.std(ddof=1) / draws**0.5) if draws > 1 else float("nan")
        title = f"mean gain over random order, {_START} to {_TARGET} labels a class, {name}, {order}"
        gains.append(_row(title, float(gain.mean()), error, "points", None, data))
    return [*needed, *gains]


def _row(title: str, value: float, error: float, unit: str, goal: float | None, data: str) -> Row:
    spread = f"± {error:.1f} (standard error)"
    better: Better = "higher" if unit == "points" else "lower"
    return Row(title, round(value, 1), unit, goal, better, data, where("scikit-learn"), COMMAND, spread)


def labels_needed(curves: Float64Array, random: Float64Array) -> tuple[float, float]:
    """Return the labels a class that an order needs for what random order reaches with `_TARGET`, and its error.

    An order that never gets there counts as needing `_TARGET`, in its favor.
    """
    rng = np.random.default_rng(0)
    choices: list[Sequence[int] | IntArray] = [np.arange(len(curves))]
    choices += list(rng.integers(0, len(curves), (RESAMPLES, len(curves))))
    needed = list[float]()
    for draws in choices:
        target = float(rising(random[draws].mean(axis=0))[-1])
        answers = answers_for(target, rising(curves[draws].mean(axis=0)), 1)
        needed.append(_TARGET if np.isnan(answers) else _START + answers)
    return float(needed[0]), float(np.std(needed[1:]))
