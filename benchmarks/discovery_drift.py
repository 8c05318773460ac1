"""The drift test and the estimated priors on photographs: false alarms, delay after a change, accuracy gained.

The images of each dataset are split at random; the index has 60 %, and the streams are drawn from the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.discovery_data import FOLDERS, labeled_vectors
from benchmarks.quality_data import LabeledVectors, drawn_as_new, index_of
from benchmarks.rows import Better, Row, where
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.calibration.priors.bias_correction import BiasCorrection
from lmm_classifier.calibration.priors.prior_estimate import estimate_priors, expectation_maximization
from lmm_classifier.calibration.request import DEFAULT_KEEP_KNOWN
from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray
from lmm_classifier.discovery.drift.drift_test import DriftTest
from lmm_classifier.index.vector_index import Index
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.neighbors.novelty import keep_known_threshold
from lmm_classifier.pipeline.retrieval.encoder_retriever import EncoderRetriever

COMMAND = "python -m benchmarks.discovery --only drift"
SPLITS, ORDERS = 15, 10  # of each dataset: 300 streams of the two
LEFT_OUT = 2  # labels that come later
CHANGE_AT, LENGTH = 100, 500  # images
SHARES = (0.1, 0.2, 0.5)  # of the images after the change that have a label left out
KINDS = ("Dirichlet(.5)", "Dirichlet(2)", "uniform", "the dataset's own")  # of priors
UNKNOWN = (0.0, 0.2, 0.5)  # of the images from which priors are estimated: of a label left out
WINDOW, EVERY, Z = 100, 25, 3.0  # of the Mann-Whitney test


@dataclass(frozen=True)
class Fitted:
    """An index that was fitted, and what it says about new images."""

    held_out: HeldOutPredictions
    counts: Float64Array  # (C,) images of each label in the index
    log_probabilities: Float64Array  # (n, C) of new images
    familiarity: Float64Array  # (n,)
    label_ids: IntArray  # (n,) -1 for a label that the index does not have


def fitted(dataset: LabeledVectors, new: LabeledVectors) -> Fitted:
    """Fit an index to a dataset, and score new images."""
    index: Index = index_of(dataset)
    calibration, held_out = fit_by_leave_one_out(RetrievalConfig(), [index])
    retriever = EncoderRetriever.open(RetrievalConfig(), index, calibration.fits[0], None, whole=False)
    scores = retriever.score(new.vectors, [])
    numbers = {name: number for number, name in enumerate(index.label_names)}
    label_ids = np.array([numbers.get(str(label), -1) for label in new.labels])
    return Fitted(held_out, index.gallery.counts, scores.log_probabilities, scores.familiarity, label_ids)


def split(images: LabeledVectors, seed: int, left_out: Sequence[str] = ()) -> Fitted:
    """Fit 60 % of the images, without some labels, and score the others."""
    is_new = drawn_as_new(images.labels, seed, 0.4)
    is_absent = np.isin(images.labels, left_out)
    return fitted(images.at(~is_new & ~is_absent), images.at(is_new | is_absent))


def first_alarm(reference: Float64Array, stream: Float64Array, name: str) -> float:
    """Return the number of the image at the alarm of the martingale; infinite without one."""
    test = DriftTest.of(reference)
    for number, value in enumerate(stream):
        test.observe(str(number), f"{name} {number}", float(value))
    return test.report().alarm_at or np.inf


def first_alarm_of_ranks(reference: Float64Array, stream: Float64Array) -> float:
    """Return the same of the Mann-Whitney test of the last images; it is repeated without a correction."""
    from scipy.stats import rankdata

    n, m = len(reference), WINDOW
    for end in range(WINDOW, len(stream) + 1, EVERY):
        ranks = rankdata(np.concatenate([reference, stream[end - WINDOW : end]]))
        u = ranks[n:].sum() - m * (m + 1) / 2
        if abs(u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12) > Z:
            return float(end)
    return np.inf


def alarm_rows(images: dict[str, LabeledVectors], splits: int, orders: int) -> Iterator[Row]:
    """Count the alarms in streams without change."""
    alarms: dict[str, list[tuple[bool, bool]]] = {name: [] for name in images}
    for name, vectors in images.items():
        for seed in range(splits):
            fit, rng = split(vectors, seed), np.random.default_rng(seed)
            for order in range(orders):
                stream = rng.permutation(fit.familiarity)[:LENGTH]
                reference = fit.held_out.familiarity
                ours = first_alarm(reference, stream, f"{name} {seed} {order}")
                alarms[name].append((np.isfinite(ours), np.isfinite(first_alarm_of_ranks(reference, stream))))
    joined = np.array([pair for pairs in alarms.values() for pair in pairs])
    ours, ranks = 100 * joined.mean(axis=0)
    each = ", ".join(f"{name} {100 * np.mean([own for own, _ in pairs]):.1f}" for name, pairs in alarms.items())
    against = (
        f"{len(joined)} streams of at most {LENGTH} images, {orders} orders of each of {splits} splits; {each}; "
        f"Mann-Whitney z > 3 of the last {WINDOW}, every {EVERY}: {ranks:.1f} (first image {WINDOW})"
    )
    yield _row("drift: false alarms, streams without change", float(ours), "%", 2, "lower", against)


def change_rows(images: dict[str, LabeledVectors], draws: int) -> Iterator[Row]:
    """Count the alarms, and their delay, after some images have labels that the index does not have."""
    found: dict[float, list[tuple[float, float, int]]] = {share: [] for share in SHARES}
    for name, vectors in images.items():
        labels = np.unique(vectors.labels)
        for seed in range(draws):
            left_out = np.random.default_rng(seed).permutation(labels)[:LEFT_OUT]
            fit = split(vectors, seed, [*map(str, left_out)])
            for share in SHARES:
                rng = np.random.default_rng([seed, int(100 * share)])
                stream = _changing(fit, share, rng)
                after = [
                    first_alarm(fit.held_out.familiarity, stream, f"{name} {seed} {share}") - CHANGE_AT,
                    first_alarm_of_ranks(fit.held_out.familiarity, stream) - CHANGE_AT,
                ]
                found[share].append((*after, len(stream) - CHANGE_AT))
    for share, values in found.items():
        delays = np.array(values)
        seen = np.isfinite(delays[:, :2]) & (delays[:, :2] > 0)
        ours, ranks = 100 * seen.mean(axis=0)
        medians = [float(np.median(delays[seen[:, side], side])) if seen[:, side].any() else np.nan for side in (0, 1)]
        error = 100 * float(seen[:, 0].std() / np.sqrt(len(seen)))
        against = (
            f"{len(delays)} streams, {LEFT_OUT} labels left out, a change after {CHANGE_AT} images, then at most "
            f"{int(delays[:, 2].max())}; ± {error:.0f}; median delay {medians[0]:.0f} images. Mann-Whitney "
            f"{ranks:.0f}, {medians[1]:.0f}"
        )
        yield _row(f"drift: change found, {share:.0%} new labels", float(ours), "%", None, "higher", against)


def _changing(fit: Fitted, share: float, rng: np.random.Generator) -> Float64Array:
    """Return the familiarity of a stream in which a share of the images has new labels from some image on."""
    known, new = (rng.permutation(fit.familiarity[is_known]) for is_known in (fit.label_ids >= 0, fit.label_ids < 0))
    later = int(min(LENGTH - CHANGE_AT, (len(known) - CHANGE_AT) / (1 - share), len(new) / share))
    is_new = rng.random(later) < share
    count = min(int(is_new.sum()), len(new))
    mixed = np.concatenate([new[:count], known[CHANGE_AT : CHANGE_AT + later - count]])
    return np.concatenate([known[:CHANGE_AT], rng.permutation(mixed)])


def prior_rows(images: dict[str, LabeledVectors], splits: int, draws: int) -> Iterator[Row]:
    """Compare the accuracy with estimated priors, gated and corrected or not, with that of the dataset's priors."""
    gains: dict[tuple[float, str, int], list[tuple[float, float, bool]]] = {}
    for vectors in images.values():
        labels = np.unique(vectors.labels)
        for seed in range(splits):
            left_out = np.random.default_rng(seed).permutation(labels)[:LEFT_OUT]
            for unknown in UNKNOWN:
                fit = split(vectors, seed, [*map(str, left_out)] if unknown else [])
                for count, number, draw in product((50, 200), range(len(KINDS)), range(draws)):
                    rng = np.random.default_rng([seed, count, number, draw])
                    rows = _drawn(fit, KINDS[number], count - round(unknown * count), rng)
                    others = rng.choice(np.flatnonzero(fit.label_ids < 0), count - len(rows)) if unknown else rows[:0]
                    found = _gain(fit, rows, np.concatenate([rows, others]))
                    gains.setdefault((unknown, KINDS[number], count), []).append(found)
    for (unknown, kind, count), values in gains.items():
        table = np.array(values)
        plain, gated, opened = 100 * table.mean(axis=0)
        error = 100 * float(table[:, 1].std() / np.sqrt(len(table)))
        among = f", {unknown:.0%} of them of unknown labels" if unknown else ""
        against = f"{len(table)} draws; ± {error:.1f}; gate open in {opened:.0f} %; plain EM {plain:+.1f}"
        name = f"priors: accuracy gained, {kind}, {count} images{among}"
        yield _row(name, float(gated), "points", None, "higher", against)


def _drawn(fit: Fitted, kind: str, count: int, rng: np.random.Generator) -> IntArray:
    """Draw rows of new images whose labels have the priors of a kind; a row may come twice."""
    labels = len(fit.counts)
    if kind == "uniform":
        shares = np.full(labels, 1 / labels)
    elif kind.startswith("Dirichlet"):
        shares = rng.dirichlet(np.full(labels, 0.5 if ".5" in kind else 2.0))
    else:
        shares = fit.counts / fit.counts.sum()
    rows = [np.flatnonzero(fit.label_ids == label) for label in range(labels)]
    return np.array([rng.choice(rows[label]) for label in rng.choice(labels, count, p=shares)])


def _gain(fit: Fitted, rows: IntArray, given: IntArray) -> tuple[float, float, bool]:
    """Return the accuracy that plain EM and the gated estimate gain, and whether the gate was open.

    Args:
        fit: of an index.
        rows: of images of known labels, on which the accuracy is.
        given: of the images from which the priors are estimated; those that are not familiar are left out.
    """
    logs, truth, held_out = fit.log_probabilities[rows], fit.label_ids[rows], fit.held_out
    own = fit.counts / fit.counts.sum()
    shares, _ = expectation_maximization(fit.log_probabilities[given], own, np.ones(len(own), bool))
    least = keep_known_threshold(held_out.familiarity, DEFAULT_KEEP_KNOWN)
    kept = held_out.familiarity >= least
    correction = BiasCorrection.fit(held_out.log_probabilities[kept], held_out.label_ids[kept])
    estimate = estimate_priors(fit.log_probabilities[given][fit.familiarity[given] >= least], correction)

    def accuracy(scores: Float64Array) -> float:
        correct: BoolArray = scores.argmax(axis=1) == truth
        return float(correct.mean())

    base = accuracy(logs)
    return accuracy(logs + np.log(shares / own)) - base, accuracy(estimate.apply(logs)) - base, estimate.is_used


def _row(name: str, value: float, unit: str, goal: float | None, better: Better, against: str) -> Row:
    data = f"clothing and trashnet, encoder lite; {against}"
    return Row(name, round(value, 2), unit, goal, better, data, where("scipy"), COMMAND)


def rows(quick: bool) -> list[Row]:
    """Measure all; quickly with few draws."""
    images = {name: labeled_vectors(name) for name in FOLDERS}
    splits, orders, draws = (2, 3, 2) if quick else (SPLITS, ORDERS, 20)
    return [
        *alarm_rows(images, splits, orders),
        *change_rows(images, draws),
        *prior_rows(images, splits, 2),
    ]
