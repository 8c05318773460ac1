"""Rankings of an audit that were tried: average precision of each, next to that of the audit, in points.

5 % of the labels are changed, at random or to the nearest label. Probabilities are means of those of the rule, of its
experts, or of a soft vote of the 20 nearest examples; a deficit of label quality is made of them in several ways.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from benchmarks.discovery_data import FOLDERS, labeled_vectors
from benchmarks.quality_audit import flip
from benchmarks.quality_data import LabeledVectors, index_of
from lmm_classifier.calibration.fit import fit_by_leave_one_out
from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray
from lmm_classifier.core.metrics import average_precision
from lmm_classifier.neighbors.config import RetrievalConfig

DRAWS, QUICK = 20, 2
_VOTERS, _TEMPERATURE = 20, 0.05
AUDIT = "experts, neighbors twice, audit"
DEFICITS: dict[str, Callable[[Float64Array, Float64Array], Float64Array]] = {  # of p(own) and p(suggested)
    "audit": lambda own, other: (2 * (1 - own) + other - own) / 3,
    "1 - own": lambda own, _: 1 - own,
    "margin": lambda own, other: other - own,
    "log odds": lambda own, other: np.log((other + 1e-12) / (own + 1e-12)),
}


def soft_vote(images: LabeledVectors, label_ids: IntArray, labels: int) -> Float64Array:
    """Return the weights (N, C) of the labels among the nearest other examples of each."""
    unit = images.vectors / np.linalg.norm(images.vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1)[:, :_VOTERS]
    weights = np.exp((np.take_along_axis(cosines, nearest, axis=1) - 1) / _TEMPERATURE)
    votes = np.zeros((len(unit), labels))
    np.add.at(votes, (np.arange(len(unit))[:, None], label_ids[nearest]), weights)
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def precisions(images: LabeledVectors, label_ids: IntArray, flipped: BoolArray) -> dict[str, float]:
    """Return the average precision of each ranking, in percent."""
    names = np.unique(images.labels)
    held_out = fit_by_leave_one_out(RetrievalConfig(), [index_of(images, names[label_ids])])[1].in_order_of_rows()
    rule = np.exp(held_out.log_probabilities)
    gaussian, prototype, neighbors = (np.exp(logs) for logs in held_out.expert_log_probabilities)
    vote = soft_vote(images, label_ids, len(names))
    pools = {
        "experts, neighbors twice": [gaussian, prototype, neighbors, neighbors],
        "rule and each expert": [rule, gaussian, prototype, neighbors],
        "experts": [gaussian, prototype, neighbors],
        "Gaussian and neighbors": [gaussian, neighbors],
        "soft vote, Gaussian and neighbors": [vote, gaussian, neighbors],
        "rule and neighbors": [rule, neighbors],
        "rule": [rule],
    }
    found, rows = dict[str, float](), np.arange(len(label_ids))
    for pool, parts in pools.items():
        probabilities = np.mean(parts, axis=0)
        own = probabilities[rows, label_ids].copy()
        probabilities[rows, label_ids] = -1
        for formula, of in DEFICITS.items():
            found[f"{pool}, {formula}"] = 100 * average_precision(of(own, probabilities.max(axis=1)), flipped)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} draws instead of {DRAWS}")
    draws = QUICK if parser.parse_args().quick else DRAWS
    for name in FOLDERS:
        images = labeled_vectors(name)
        for kind in ("uniform", "nearest"):
            each = [precisions(images, *flip(images, kind, seed)) for seed in range(draws)]
            print(f"{name}, {kind} flips, {draws} draws: {np.mean([draw[AUDIT] for draw in each]):.1f}")
            for ranking in each[0]:
                changes = np.array([draw[ranking] - draw[AUDIT] for draw in each])
                print(f"  {ranking}: {changes.mean():+.2f} ± {changes.std(ddof=1) / draws**0.5:.2f}", flush=True)


if __name__ == "__main__":
    main()
