"""Proposals of new labels, and the order in which images of new labels are met; labels are left out in turn.

In each draw some labels are unknown: 20 to 60 images of each are in a folder with new images of the known labels. The
index holds the other images of the known labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.discovery_baselines import (
    clicks_saved,
    finch,
    hdbscan,
    k_means,
    mean_and_error,
    new_right,
    purity,
    typical_first,
)
from benchmarks.discovery_data import FOLDERS, labeled_vectors
from benchmarks.quality_data import LabeledVectors
from benchmarks.rows import Better, Row, where
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import BoolArray, Float32Array, Float64Array, IntArray
from lmm_classifier.core.datatypes import DECIDE_THEMSELVES
from lmm_classifier.discovery.groups import find_groups
from lmm_classifier.discovery.proposals.discover import discover
from lmm_classifier.discovery.proposals.known_labels import known_labels
from lmm_classifier.discovery.proposals.propose import FEWEST, propose
from lmm_classifier.discovery.suggestions.options import SuggestionOptions
from lmm_classifier.discovery.suggestions.suggest import suggest
from lmm_classifier.discovery.unlabeled import UnlabeledImages
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.metric import apply_power_normalization
from lmm_classifier.pipeline.classifier import HybridClassifier

COMMAND = "python -m benchmarks.discovery --only proposals"
DRAWS, QUICK = 30, 2
_NEW_KNOWN, _KNOWN_PART = 300, 0.3  # most new images of known labels, and their part of a label
_FEWEST, _MOST = 20, 60  # images of an unknown label
_CLICKS = (5, 10, 20)
_KEEP = 0.95

Found = dict[str, dict[str, float]]  # of a draw: method -> figure -> value


@dataclass(frozen=True)
class Draw:
    """A folder of unlabeled images, and an index that knows some of their labels."""

    index: LabeledVectors
    vectors: Float32Array  # (n, d) of the folder
    labels: IntArray  # (n,) the true ones
    is_new: BoolArray  # (n,)
    unknown: int  # labels

    @classmethod
    def of(cls, images: LabeledVectors, number: int) -> Draw:
        """Make a draw. Over C draws each of C labels is unknown equally often."""
        rng = np.random.default_rng(number)
        names, label_ids = np.unique(images.labels, return_inverse=True)
        count = 2 if len(names) <= 6 else 3 if len(names) <= 11 else 5
        order = np.random.default_rng(number * count // len(names)).permutation(len(names))
        unknown = [order[(number * count + place) % len(names)] for place in range(count)]
        rows, held, kept = list[IntArray](), list[IntArray](), list[IntArray]()
        for label in range(len(names)):
            members = rng.permutation(np.flatnonzero(label_ids == label))
            if label in unknown:
                rows.append(members[: rng.integers(_FEWEST, _MOST + 1)])
            else:
                new = round(_KNOWN_PART * len(members))
                held.append(members[:new])
                kept.append(members[new:])
        known = rng.permutation(np.concatenate(held))[:_NEW_KNOWN]
        folder = np.concatenate([known, *rows])
        labels = label_ids[folder]
        index = images.at(np.sort(np.concatenate(kept)))
        return cls(index, images.vectors[folder], labels, np.isin(labels, unknown), count)


def measure_draw(draw: Draw, seed: int) -> tuple[Found, Found]:
    """Return the figures of every clustering, and of every order."""
    index = Index.from_vectors(draw.index.vectors, draw.index.labels.tolist())
    with HybridClassifier(PipelineConfig.preset("vectors"), index=index) as classifier:
        names = [f"{row:06}" for row in range(len(draw.labels))]
        images = UnlabeledImages.of_vectors(names, draw.vectors, classifier)
        return _groups(draw, images, classifier, seed), _orders(draw, images, classifier, seed)


def _groups(draw: Draw, images: UnlabeledImages, classifier: HybridClassifier, seed: int) -> Found:
    found = discover(images, classifier)
    votes, known = images.votes, known_labels(images.flow, images.landscape)
    true_k = propose(images.mapped, votes.familiarity, images.names, known, draw.unknown).groups
    open_rows = np.flatnonzero(~np.isin(np.array(votes.reasons), DECIDE_THEMSELVES))
    names = [images.names[row] for row in open_rows.tolist()]
    of_open = propose(images.mapped[open_rows], votes.familiarity[open_rows], names, known).groups
    calibration = images.flow.retriever.calibration
    unknown = np.flatnonzero(votes.familiarity < calibration.familiarity_threshold(_KEEP))
    raw = _raw(images)
    inside = raw[unknown]
    groups = {
        "proposals": _numbers([group.members for group in found.groups], len(images)),
        "proposals with the true number": np.maximum(true_k, -1),
        "proposals among open images": _scattered(open_rows, np.maximum(of_open, -1), len(images)),
        "average link of the unknown": _scattered(unknown, _linked(images, unknown, known.cut), len(images)),
        "group test": _numbers([group.members for group in found.tested_groups], len(images)),
        "HDBSCAN of the unknown": _scattered(unknown, hdbscan(inside), len(images)),
        "k-means of the unknown, true number": _scattered(unknown, k_means(inside, draw.unknown, seed), len(images)),
        "FINCH of the unknown": _scattered(unknown, finch(inside), len(images)),
    }
    figures = {name: _figures(numbers, draw) for name, numbers in groups.items()}
    figures["proposals"]["k error"] = abs(found.about - draw.unknown)
    return figures


def _linked(images: UnlabeledImages, rows: IntArray, cut: float) -> IntArray:
    """Return the groups of some images, -1 for those of few images."""
    groups = find_groups(images.mapped[rows], [images.names[row] for row in rows.tolist()], cut)
    return np.where(np.bincount(groups)[groups] >= FEWEST, groups, -1) if len(rows) else groups


def _figures(groups: IntArray, draw: Draw) -> dict[str, float]:
    known = ~draw.is_new
    return {
        "clicks saved": clicks_saved(groups, draw.labels, draw.is_new),
        "new images right": new_right(groups, draw.labels, draw.is_new),
        "purity": purity(groups, draw.labels),
        "known images in no group": float((groups[known] < 0).mean()),
    }


def _orders(draw: Draw, images: UnlabeledImages, classifier: HybridClassifier, seed: int) -> Found:
    votes, most = images.votes, max(_CLICKS)
    raw = _raw(images)
    rng = np.random.default_rng((seed, 1))
    margin = votes.scores - votes.second
    orders = {
        "suggest": _suggested(images, classifier, SuggestionOptions(most)),
        "suggest, by new": _suggested(images, classifier, SuggestionOptions(most, by="new")),
        "random": rng.permutation(len(images)),
        "most novel first": np.argsort(votes.familiarity, kind="stable"),
        "margin": np.argsort(margin, kind="stable"),
        "TypiClust": typical_first(raw, raw[:0], most, seed),
    }
    labels = np.unique(draw.labels[draw.is_new])
    return {
        name: {f"after {clicks}": float(np.isin(labels, draw.labels[order[:clicks]]).mean()) for clicks in _CLICKS}
        for name, order in orders.items()
    }


def _raw(images: UnlabeledImages) -> Float32Array:
    """Return the unit rows in the space of the encoder, with square roots where no number is negative."""
    rows = images.embeddings[0]
    return apply_power_normalization(rows, bool((rows >= 0).all()))


def _suggested(images: UnlabeledImages, classifier: HybridClassifier, options: SuggestionOptions) -> IntArray:
    found = suggest(images, classifier, options).suggestions
    return np.array([int(each.path) for each in found], np.int64)


def _numbers(members: list[list[str]], count: int) -> IntArray:
    groups = np.full(count, -1, np.int64)
    for number, names in enumerate(members):
        groups[[int(name) for name in names]] = number
    return groups


def _scattered(rows: IntArray, groups: IntArray, count: int) -> IntArray:
    whole = np.full(count, -1, np.int64)
    whole[rows] = groups
    return whole


_FIGURES = ("clicks saved", "new images right", "purity", "known images in no group")


def rows(quick: bool) -> list[Row]:
    """Measure every dataset."""
    measured = []
    for name in FOLDERS:
        images = labeled_vectors(name)
        draws = QUICK if quick else DRAWS
        found = [measure_draw(Draw.of(images, number), number) for number in range(draws)]
        measured += _group_rows(name, [groups for groups, _ in found]) + _order_rows(name, [o for _, o in found])
    return measured


def _group_rows(name: str, draws: list[Found]) -> list[Row]:
    data = f"{name}, {len(draws)} draws, labels left out in turn"
    rows = []
    for figure in _FIGURES:
        for method in draws[0]:
            values = np.array([draw[method][figure] for draw in draws])
            goal = 78.0 if (method, figure) == ("proposals", "purity") else None
            rows.append(_row(f"{figure}, {name}, {method}", values, goal, data))
    for figure, least in (("clicks saved", 20.0), ("new images right", 25.0)):
        values = np.array([draw["proposals"][figure] - draw["HDBSCAN of the unknown"][figure] for draw in draws])
        rows.append(_row(f"{figure}, {name}, proposals over HDBSCAN of the unknown", values, least, data, "points"))
    errors = np.array([draw["proposals"]["k error"] for draw in draws]) / 100
    return [*rows, _row(f"number of new labels, {name}, error", errors, None, data, "labels", "lower")]


def _order_rows(name: str, draws: list[Found]) -> list[Row]:
    data = f"{name}, {len(draws)} draws, share of the unknown labels"
    rows = []
    for clicks in _CLICKS:
        figure = f"after {clicks}"
        for order in draws[0]:
            values = np.array([draw[order][figure] for draw in draws])
            rows.append(_row(f"new labels met after {clicks} answers, {name}, {order}", values, None, data))
    for order in ("suggest, by new", "suggest"):
        gain = np.array([draw[order]["after 5"] - draw["random"]["after 5"] for draw in draws])
        title = f"new labels met after 5 answers, {name}, {order}, over random"
        rows.append(_row(title, gain, 35.0, data, "points"))
    return rows


def _row(
    title: str, values: Float64Array, goal: float | None, data: str, unit: str = "%", better: Better = "higher"
) -> Row:
    mean, error = mean_and_error(values)
    spread = f"± {100 * error:.1f} (standard error)"
    return Row(title, round(100 * mean, 1), unit, goal, better, data, where("scikit-learn"), COMMAND, spread)
