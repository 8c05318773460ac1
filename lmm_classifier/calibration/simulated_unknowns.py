"""What look-alikes will cost: labels of the corpus, left out, play the strangers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lmm_classifier.calibration.fit import ChosenMetric, hear_left_out, sampled
from lmm_classifier.core.metrics import auroc
from lmm_classifier.core.protocols import IntArray
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.metric import WithinClassMetric, fit_scatter, whitened
from lmm_classifier.neighbors.novelty import Density, Familiarity, signals
from lmm_classifier.neighbors.voting import Recipe

_FOLDS = 5  # of labels
_ROWS = 3000  # examples that are looked at: an estimate needs no more


@dataclass(frozen=True)
class Trade:
    """An estimate: `passed` maps a share of the known that is kept to the share of look-alikes let through."""

    auroc: float
    passed: dict[float, float]


def estimate_trade(metric: WithinClassMetric, gallery: Gallery, keeps: Sequence[float]) -> Trade | None:
    """Leave a fifth of the labels out at a time and ask how familiar they look to the others.

    None where less than three labels have more than one example. An estimate for strangers that are as like the known
    labels as these are like each other; nothing is known about others.
    """
    rows = sampled(len(gallery.units), gallery.labels, _ROWS)
    ids = gallery.label_ids[rows]
    counts = np.bincount(ids, minlength=gallery.labels)
    labels = np.random.default_rng(0).permutation(np.flatnonzero(counts > 1))
    if len(labels) < 3:
        return None
    areas, passed = [], []
    for number in range(min(_FOLDS, len(labels))):
        strange = np.isin(ids, labels[number :: min(_FOLDS, len(labels))])
        kept = _renumbered(gallery, rows[~strange])
        familiarity, found = _familiarity(metric, kept, gallery, rows[strange])
        areas.append(auroc(familiarity.left_out, found))
        passed.append([float((found >= familiarity.threshold(keep)).mean()) for keep in keeps])
    means = np.mean(passed, axis=0)
    return Trade(float(np.mean(areas)), {keep: float(mean) for keep, mean in zip(keeps, means)})


def _familiarity(
    metric: WithinClassMetric, kept: Gallery, gallery: Gallery, strangers: IntArray
) -> tuple[Familiarity, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    scatter = fit_scatter(kept.units, kept.label_ids, kept.labels, metric.root)
    fold = ChosenMetric(scatter.metric(metric.shrinkage), scatter, {})
    density = Density.of(kept)
    silent = Recipe("none", (), True, metric.root, True)
    white_kept = whitened(fold.metric, kept)
    heard = hear_left_out(silent, fold, kept, white_kept, density, np.arange(len(kept.units)))
    familiarity = Familiarity.fit(density.crowding, heard.signals)
    plain = kept.compare(gallery.units[strangers])
    white = white_kept.compare(fold.metric.whiten(plain.units))
    return familiarity, familiarity.of_signals(signals(plain, white, density.crowding))


def _renumbered(gallery: Gallery, rows: IntArray) -> Gallery:
    names, ids = np.unique(gallery.label_ids[rows], return_inverse=True)
    return Gallery(gallery.units[rows], ids.astype(np.int64), len(names))
