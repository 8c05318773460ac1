"""Ladders: what each order of asking encoders gives on held-out examples, and what it costs."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lmm_classifier.calibration.fusion.cascade import FusionFit, Stage
from lmm_classifier.calibration.guarantees.risk_control import RiskGuarantee, fixed_sequence_threshold
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.core.arrays import IntArray

_MOST_ENCODERS = 4  # of which every order is tried: 64 ladders
DEFAULT_TARGET = 0.95  # precision at which the coverage is compared where none was asked for


@dataclass(frozen=True)
class Ladder:
    """Encoders, all asked at once or one after the other, measured on held-out examples."""

    encoders: tuple[str, ...]  # names
    cascaded: bool  # each next one only where those before are unsure; else all are fused at once
    accuracy: float  # 0 to 1
    coverage: float  # fraction of examples answered at `target` precision, 0 to 1; 0 where it cannot be guaranteed
    target: float  # precision, 0 to 1
    asked: tuple[float, ...]  # fraction of the examples for which each encoder was asked, 0 to 1
    milliseconds: float | None  # for an image, as measured while the index was built; None: not measured

    @property
    def name(self) -> str:
        """Return the encoders in words."""
        return (" -> " if self.cascaded else " + ").join(self.encoders)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Ladder:
        """Rebuild from `to_dict`; raise TypeError or KeyError if they are not a ladder's."""
        return cls(**{**values, "encoders": tuple(values["encoders"]), "asked": tuple(values["asked"])})


def measure_ladders(
    fit: FusionFit, names: Sequence[str], milliseconds: Sequence[float | None], target: float, delta: float
) -> tuple[Ladder, ...]:
    """Measure every encoder alone, every fusion, and every cascade of at most four encoders.

    Args:
        fit: the predictions of the encoders for held-out examples.
        names: of the encoders.
        milliseconds: that each takes for an image; None where it is not known.
        target: precision at which coverage is compared, 0 to 1.
        delta: accepted probability that this precision is missed, 0 to 1.
    """
    places = range(len(names))
    if len(places) < 2:
        return ()
    subsets = (
        [subset for size in range(1, len(places) + 1) for subset in itertools.combinations(places, size)]
        if len(places) <= _MOST_ENCODERS
        else [*((place,) for place in places), tuple(places)]
    )
    ladders = []
    for subset in subsets:
        ladders.append(_measured(fit, [subset], names, milliseconds, target, delta))
        orders = itertools.permutations(subset) if len(places) <= _MOST_ENCODERS else [subset]
        for order in orders if len(subset) > 1 else []:
            steps = [order[:length] for length in range(1, len(order) + 1)]
            ladders.append(_measured(fit, steps, names, milliseconds, target, delta))
    return tuple(ladders)


def _measured(
    fit: FusionFit,
    steps: Sequence[Sequence[int]],
    names: Sequence[str],
    milliseconds: Sequence[float | None],
    target: float,
    delta: float,
) -> Ladder:
    cascade, predictions, reached = fit.cascade(steps)
    asked = asked_fractions(cascade.stages, reached)
    order = cascade.encoders
    times = [milliseconds[place] for place in order]
    total = None
    if all(time is not None for time in times):
        total = sum(time * share for time, share in zip(times, asked) if time is not None)
    return Ladder(
        tuple(names[place] for place in order),
        len(steps) > 1,
        float(predictions.correct.mean()) if len(predictions.rows) else math.nan,
        _coverage(predictions, target, delta),
        target,
        asked,
        total,
    )


def prices(ladders: Sequence[Ladder]) -> list[tuple[Ladder, float, float, float | None]]:
    """Return what each cascade of all encoders changes, compared with asking all of them about every image.

    Each entry has the cascade, the changes of accuracy and coverage (0.01 is a point), and its fraction of the time;
    None where that is not known.
    """
    most = max((len(ladder.encoders) for ladder in ladders), default=0)
    fused = next((ladder for ladder in ladders if len(ladder.encoders) == most and not ladder.cascaded), None)
    if fused is None:
        return []
    return [
        (
            ladder,
            ladder.accuracy - fused.accuracy,
            ladder.coverage - fused.coverage,
            ladder.milliseconds / fused.milliseconds if ladder.milliseconds and fused.milliseconds else None,
        )
        for ladder in ladders
        if ladder.cascaded and len(ladder.encoders) == most
    ]


def asked_fractions(stages: Sequence[Stage], reached: IntArray) -> tuple[float, ...]:
    """Return for each encoder of a cascade the fraction of examples for which it was asked."""
    asked: list[float] = []
    for number, stage in enumerate(stages):
        share = float((reached >= number).mean()) if len(reached) else 0.0
        asked += [share] * (len(stage.encoders) - len(asked))
    return tuple(asked)


def _coverage(predictions: HeldOutPredictions, target: float, delta: float) -> float:
    guarantee = fixed_sequence_threshold(predictions.confidence, predictions.correct, 1 - target, delta)
    return guarantee.coverage if isinstance(guarantee, RiskGuarantee) else 0.0


def ladders_to_json(ladders: Sequence[Ladder]) -> str:
    """Return the text that is stored with a calibration."""
    return json.dumps([ladder.to_dict() for ladder in ladders])


def ladders_from_json(text: str) -> tuple[Ladder, ...]:
    """Rebuild from `ladders_to_json`; raise TypeError, KeyError or ValueError if it is damaged."""
    return tuple(map(Ladder.from_dict, json.loads(text)))
