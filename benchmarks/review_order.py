"""How many answers a review needs in its order, compared with random order, for the same accuracy on held-out images.

Each dataset is split at random: two fifths are held out, a few images have labels, and the others are reviewed. An
answer is one label for one image. After every few answers the index is fitted again, and the order is made anew.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.quality_data import LabeledVectors, encode_folder, index_of, split
from benchmarks.rows import Row, where, write_rows
from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.discovery.cover import ambiguity, cold_start, cover, either, novelty
from lmm_classifier.discovery.space import DiscoverySpace
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.pipeline.retrieval.query_vectors import QueryVectors
from lmm_classifier.pipeline.retrieval.retriever import Retriever

COMMAND = "python -m benchmarks.review_order --data DATA --models MODELS"
HELD_OUT = 0.4
LONGEST = 6  # answers per label, in random order
TARGETS = (3, 6)  # answers per label in random order, whose accuracy is to be reached
RESAMPLES = 200
OTHERS = ("uncertain first", "cover without weights")  # compared with it


@dataclass(frozen=True)
class Start:
    """What is labeled at the start: some images of each label, or of half of the labels."""

    per_label: int
    half: bool = False

    def __str__(self) -> str:
        return f"{self.per_label} a label{' of half the labels' * self.half}"


STARTS = (Start(2), Start(4), Start(2, half=True))


@dataclass
class Review:
    """A review of `pool`, whose `labeled` rows have a label."""

    pool: LabeledVectors
    held_out: LabeledVectors
    labeled: list[int]

    @classmethod
    def begin(cls, images: LabeledVectors, start: Start, seed: int) -> Review:
        """Split the images, and label some of them at random."""
        task = split(images, seed, HELD_OUT)
        rng = np.random.default_rng((seed, 1))
        names = rng.permutation(np.unique(images.labels))
        names = names[: max(len(names) // 2, 2)] if start.half else names
        rows = [rng.permutation(np.flatnonzero(task.dataset.labels == name))[: start.per_label] for name in names]
        return cls(task.dataset, task.new, np.concatenate(rows).tolist())

    def curve(self, order: str, step: int, longest: int, seed: int) -> Float64Array:
        """Return the held-out accuracy after 0, `step`, 2 `step`, ... up to `longest` answers."""
        rng = np.random.default_rng((seed, 2))
        accuracies = []
        for done in range(0, longest + 1, step):
            index = index_of(self.pool.at(np.array(self.labeled)))
            retriever = Retriever.open(RetrievalConfig(), [index])
            predicted = np.array(index.label_names)[_scores(retriever, self.held_out)[0].argmax(axis=1)]
            accuracies.append(float((predicted == self.held_out.labels).mean()))
            if done < longest:
                open_rows = np.setdiff1d(np.arange(len(self.pool.labels)), self.labeled)
                self.labeled += self._next(order, open_rows, retriever, step, rng).tolist()
        return np.array(accuracies)

    def _next(
        self, order: str, open_rows: IntArray, retriever: Retriever, count: int, rng: np.random.Generator
    ) -> IntArray:
        if order == "random":
            return np.asarray(rng.permutation(open_rows)[:count])
        probabilities, familiarity = _scores(retriever, self.pool.at(open_rows))
        competing = ambiguity(probabilities)
        if order == "uncertain first":
            return np.asarray(open_rows[np.argsort(-competing, kind="stable")[:count]])
        weights = {
            "review": either(competing, novelty(familiarity, retriever.calibration.familiarity)),
            "competing labels only": competing,
            "cover without weights": cold_start(len(open_rows)),
        }[order]
        index = retriever.index
        space = DiscoverySpace.of_examples(index.gallery.embeddings, index.label_ids, len(index.label_names))
        norms = np.linalg.norm(self.pool.vectors[open_rows], axis=1, keepdims=True)
        mapped = space.map(self.pool.vectors[open_rows] / norms)
        names = [f"{row:06}" for row in open_rows]
        picks = cover(mapped, weights, names, count, space.map(index.gallery.embeddings))
        return np.asarray(open_rows[picks.rows])


def _scores(retriever: Retriever, images: LabeledVectors) -> tuple[Float64Array, Float64Array]:
    parts = [part for _, part in retriever.score_in_batches(QueryVectors.given(images.vectors))]
    return np.concatenate([part.probabilities for part in parts]), np.concatenate([part.familiarity for part in parts])


def rising(values: Float64Array) -> Float64Array:
    """Return the closest values that never fall (pool adjacent violators): accuracy rises with answers."""
    blocks: list[tuple[float, int]] = []
    for value in values.tolist():
        blocks.append((value, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (last, n), (former, m) = blocks.pop(), blocks.pop()
            blocks.append(((last * n + former * m) / (n + m), n + m))
    return np.concatenate([np.full(n, value) for value, n in blocks])


def answers_for(accuracy: float, curve: Float64Array, step: int) -> float:
    """Return after how many answers a rising curve reaches an accuracy, between two points too; nan where it fails."""
    above = np.flatnonzero(curve >= accuracy - 1e-9)
    if not len(above):
        return float("nan")
    place = int(above[0])
    if place == 0:
        return 0.0
    return float(step * (place - 1 + (accuracy - curve[place - 1]) / (curve[place] - curve[place - 1])))


def ratio(reviews: Float64Array, random: Float64Array, target: int, step: int) -> tuple[float, float]:
    """Return the answers needed as a fraction of those in random order, and its standard error over the splits.

    Args:
        reviews: accuracies (s, k) of s splits after 0, `step`, ... answers.
        random: the same in random order, of the same splits.
        target: answers in random order.
        step: answers between two points.
    """
    rng = np.random.default_rng(0)
    choices = [np.arange(len(reviews)), *rng.integers(0, len(reviews), (RESAMPLES, len(reviews)))]
    ratios = []
    for splits in choices:
        baseline = rising(random[splits].mean(axis=0))
        accuracy = float(baseline[target // step])
        needed = answers_for(accuracy, rising(reviews[splits].mean(axis=0)), step)
        ratios.append(needed / answers_for(accuracy, baseline, step))
    return ratios[0], float(np.nanstd(ratios[1:]))


def measure(name: str, images: LabeledVectors, splits: int, orders: Sequence[str]) -> list[Row]:
    """Return the rows of one dataset."""
    labels = len(np.unique(images.labels))
    step, longest = max(labels // 2, 1), LONGEST * labels
    rows, of_review = [], {target: list[tuple[float, float]]() for target in TARGETS}
    for start in STARTS:
        curves = {
            order: np.array(
                [Review.begin(images, start, seed).curve(order, step, longest, seed) for seed in range(splits)]
            )
            for order in ("random", "review", *orders)
        }
        for order in ("review", *orders):
            for target in TARGETS:
                value, error = ratio(curves[order], curves["random"], target * labels, step)
                if order == "review":
                    of_review[target].append((value, error))
                data = f"{name}, {len(images.labels)} images, {labels} labels, start with {start}, {splits} splits"
                title = f"{name}, {start}, {order}: answers needed for random order's {target} a label"
                rows.append(_row(title, value, error, None, data))
    for target, values in of_review.items():
        ratios, errors = np.array(values).T
        error = float(np.sqrt(np.square(errors).sum()) / len(errors))
        data = f"{name}, mean of the {len(STARTS)} starts, {splits} splits each"
        title = f"{name}, review order: answers needed for random order's {target} a label"
        rows.append(_row(title, float(ratios.mean()), error, 60, data))
    return rows


def _row(title: str, value: float, error: float, goal: float | None, data: str) -> Row:
    spread = f"± {100 * error:.0f} (standard error over splits)"
    return Row(title, round(100 * value), "% of random order", goal, "lower", data, where(), COMMAND, spread)


def joined(parts: Sequence[LabeledVectors]) -> LabeledVectors:
    """Return the images of several folders as one dataset."""
    return LabeledVectors(
        np.concatenate([part.vectors for part in parts]), np.concatenate([part.labels for part in parts])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with clothing and trashnet")
    parser.add_argument("--models", type=Path, required=True, help="folder with mobilenet_v2")
    parser.add_argument("--splits", type=int, default=6)
    parser.add_argument("--orders", nargs="*", default=OTHERS, help="further orders")
    parser.add_argument("--only", help="name of one dataset; prints, and stores nothing")
    arguments = parser.parse_args()
    rows = []
    folders = {"clothing": ("clothing/train", "clothing/validation"), "trashnet": ("trashnet",)}
    with tempfile.TemporaryDirectory() as work:
        for name, parts in folders.items():
            if arguments.only in (None, name):
                encoded = [encode_folder(arguments.data / part, arguments.models, Path(work)) for part in parts]
                rows += measure(name, joined(encoded), arguments.splits, arguments.orders)
    if arguments.only is None:
        write_rows("review_order", rows)
    else:
        for row in rows:
            print(row.name, row.value, row.spread)


if __name__ == "__main__":
    main()
