"""Fits a decision rule to a corpus: a within-class metric and temperatures, all chosen by exact leave-one-out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.fitted_rule import FittedVoices
from lmm_classifier.calibration.temperature import fit_temperature, log_losses
from lmm_classifier.calibration.zero_shot_text import fit_text_voice
from lmm_classifier.core.numerics import log_shares
from lmm_classifier.core.protocols import FloatArray, IntArray
from lmm_classifier.neighbors.gallery import Gallery
from lmm_classifier.neighbors.leave_one_out import LeaveOneOut, Removal
from lmm_classifier.neighbors.metric import WithinClassMetric, WithinClassScatter, fit_scatter
from lmm_classifier.neighbors.novelty import Density, signals_left_out
from lmm_classifier.neighbors.voting import Recipe

Doubles = NDArray[np.float64]

SHRINKAGES = (0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
MOST_ROWS = 20_000  # examples left out, at most: a sample of them serves as well and bounds the time
_ROWS_TO_CHOOSE_BY = 5000
_MOST_SCORES = 20_000_000  # examples times labels
_MOST_PAIRS, _LEAST_ROWS = 2_000_000_000, 1000  # examples left out times examples: 2,000 of a million, never less
_SCORES_TO_CHOOSE_BY = 4_000_000  # for the shrinkage: ten are tried
_SAME = 1e-4  # nats; what differs by rounding alone is equal
_BLOCK = 4096


@dataclass(frozen=True)
class LeftOut:
    """What leave-one-out says of the examples `rows` (n,)."""

    rows: IntArray
    own: IntArray  # (n,) their labels
    log_probabilities: Doubles  # (n, C)
    voices: list[Doubles]  # (n, C), the log-probabilities of each voice alone
    signals: Doubles  # (n, 5), see `novelty.Familiarity`

    @property
    def confidence(self) -> Doubles:
        """The probability of the likeliest label, (n,)."""
        return np.asarray(np.exp(self.log_probabilities.max(axis=1)))

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the likeliest label is the own one, (n,)."""
        return np.asarray(self.log_probabilities.argmax(axis=1) == self.own)


@dataclass(frozen=True)
class Heard:
    """What the voices say of examples `rows` (n,) that were left out or held out, and how familiar those look."""

    rows: IntArray
    own: IntArray  # (n,) their labels
    scores: list[Doubles]  # (n, C) per voice
    signals: Doubles  # (n, 5), see `novelty.Familiarity`

    @classmethod
    def join(cls, parts: Sequence[Heard]) -> Heard:
        """Put parts together, in order."""
        return cls(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.own for part in parts]),
            [np.concatenate(voice) for voice in zip(*(part.scores for part in parts))],
            np.concatenate([part.signals for part in parts]),
        )


@dataclass(frozen=True)
class ChosenMetric:
    """A metric, the scatter it was made of, and the leave-one-out log-loss in nats of every shrinkage tried."""

    metric: WithinClassMetric
    scatter: WithinClassScatter
    losses: Mapping[float, float]


def choose_metric(recipe: Recipe, gallery: Gallery) -> ChosenMetric:
    """Choose the shrinkage by the leave-one-out log-loss of the prototype voice, which needs no similarities."""
    scatter = fit_scatter(gallery.units, gallery.label_ids, gallery.labels, recipe.root)
    most = min(_ROWS_TO_CHOOSE_BY, max(_SCORES_TO_CHOOSE_BY // max(gallery.labels, 1), 1))
    wanted = sampled(len(gallery.units), gallery.labels, most)
    along, own = scatter.coordinates(gallery.units[wanted]).astype(np.float64), gallery.label_ids[wanted]
    losses = {one: _prototype_losses(scatter, one, gallery.counts, along, own) for one in SHRINKAGES}
    means = {one: float(loss.mean()) if len(loss) else float("nan") for one, loss in losses.items()}
    return ChosenMetric(scatter.metric(_simplest_of_the_best(losses)), scatter, means)


def hear_left_out(
    recipe: Recipe, chosen: ChosenMetric, gallery: Gallery, white: Gallery, density: Density, wanted: IntArray
) -> Heard:
    """Ask the voices about the examples `wanted`, each exactly as if it were not in the corpus.

    `white` is the gallery in the chosen metric.
    """
    heard = []
    downdate = (1 - chosen.metric.shrinkage) / chosen.scatter.freedom
    plain_blocks = LeaveOneOut(gallery).blocks(wanted)
    white_blocks = LeaveOneOut(white, downdate, centred=True).blocks(wanted)
    for (rows, plain), (_, mapped) in zip(plain_blocks, white_blocks):
        scores = [voice.scores(mapped if recipe.whitened else plain) for voice in recipe.voices]
        heard.append(Heard(rows, gallery.label_ids[rows], scores, signals_left_out(density, rows, plain, mapped)))
    return Heard.join(heard)


def fit_voices(
    recipe: Recipe, chosen: ChosenMetric, heard: Heard, units: FloatArray, texts: FloatArray | None = None
) -> tuple[FittedVoices, LeftOut]:
    """Give each voice the temperature of least log-loss on what was heard, and then their product.

    `units` (n, d) are the pictures that were heard about; `texts` (C, d) the label names, if they are to join.
    """
    if recipe.fixed:
        temperatures = tuple(voice.temperature for voice in recipe.voices)
    else:
        temperatures = tuple(fit_temperature(one, heard.own) for one in heard.scores)
    opinions = list(zip(heard.scores, temperatures))
    text = None if texts is None else fit_text_voice(texts, units, heard.own, opinions)
    fitted = FittedVoices(chosen.metric, temperatures, 1.0, chosen.losses, text)
    together = fitted.together(heard.scores, units)
    if not recipe.fixed:
        fitted = replace(fitted, temperature=fit_temperature(together, heard.own))
    alone = [log_shares(scores / temperature) for scores, temperature in opinions]
    said = log_shares(together / fitted.temperature)
    return fitted, LeftOut(heard.rows, heard.own, said, alone, heard.signals)


def usually_left_out(count: int) -> int:
    """How many of `count` examples to leave out, where a sample says enough."""
    return min(MOST_ROWS, max(_MOST_PAIRS // max(count, 1), _LEAST_ROWS))


def sampled(count: int, labels: int, most: int) -> IntArray:
    """Every row, or an even sample of as many as time and memory bear."""
    most = min(most, max(_MOST_SCORES // max(labels, 1), 1))
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def _simplest_of_the_best(losses: Mapping[float, Doubles]) -> float:
    """Choose the largest shrinkage whose mean loss is within one standard error of the least.

    The one-standard-error rule (Breiman, Friedman, Olshen & Stone, 1984, sec. 3.4.3): among what cannot be told
    apart, the simplest metric. With few examples the least loss alone is often luck.
    """
    known = {one: loss for one, loss in losses.items() if len(loss)}
    if not known:
        return SHRINKAGES[-1]
    best = min(known, key=lambda one: float(known[one].mean()))

    def is_as_good(one: float) -> bool:
        worse = known[one] - known[best]
        return bool(worse.mean() <= worse.std() / np.sqrt(len(worse)) + _SAME)

    return max(one for one in known if one == best or (one > best and is_as_good(one)))


def _prototype_losses(
    scatter: WithinClassScatter, shrinkage: float, counts: IntArray, along: Doubles, own: IntArray
) -> Doubles:
    """Losses (n,) of the prototype voice on examples (n, r) `along` the axes, where a metric is but a scale."""
    scale = scatter.scale(shrinkage)
    removal = Removal.of(counts, scatter.means_along * scale, (1 - shrinkage) / scatter.freedom, centred=True)
    scores = [
        removal.to_means(along[start : start + _BLOCK] * scale, own[start : start + _BLOCK])[0]
        for start in range(0, len(own), _BLOCK)
    ]
    together = np.concatenate([*scores, np.empty((0, len(counts)))])
    return log_losses(together, own, fit_temperature(together, own))
