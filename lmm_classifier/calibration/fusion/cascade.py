"""A cascade of encoders: the next one is asked only where those before are unsure."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmm_classifier.calibration.fusion.encoder_fusion import EncoderFusion
from lmm_classifier.calibration.fusion.fusion_weights import fit_weights, weight_evidence
from lmm_classifier.calibration.predictions import HeldOutPredictions
from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray

_ASKED = 0.98  # fraction of the held-out examples whose answer changes with all encoders that are asked about

NEVER = -math.inf


@dataclass(frozen=True)
class Stage:
    """The encoders that have answered so far, and how they are fused."""

    encoders: tuple[int, ...]  # their places, in the order in which they are asked
    fusion: EncoderFusion
    ask_up_to: float = NEVER  # the next stage is asked where the best label has at most this probability

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        ask_up_to = None if self.ask_up_to == NEVER else self.ask_up_to
        return {"encoders": list(self.encoders), "ask_up_to": ask_up_to, **self.fusion.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Stage:
        """Rebuild from `to_dict`; raise KeyError, TypeError or ValueError if they are not a stage's."""
        encoders = tuple(map(int, values["encoders"]))
        ask_up_to = NEVER if values["ask_up_to"] is None else float(values["ask_up_to"])
        fusion = EncoderFusion.from_dict(values)
        if len(encoders) != len(fusion.weights) or len(set(encoders)) < len(encoders) or not ask_up_to <= 1:
            raise ValueError(f"impossible stage of a cascade: {values}")
        return cls(encoders, fusion, ask_up_to)


@dataclass(frozen=True)
class Cascade:
    """Stages of one encoder more each; the last one fuses all. Plain fusion is a cascade of one stage."""

    stages: tuple[Stage, ...]

    @property
    def encoders(self) -> tuple[int, ...]:
        """Return the places of all encoders that are ever asked."""
        return self.stages[-1].encoders

    def to_json(self) -> str:
        """Return the text that is stored with a calibration."""
        return json.dumps([stage.to_dict() for stage in self.stages])

    @classmethod
    def from_json(cls, text: str, encoders: int) -> Cascade:
        """Rebuild from `to_json` for so many encoders; raise KeyError, TypeError or ValueError if it is damaged."""
        stages = tuple(map(Stage.from_dict, json.loads(text)))
        grows = all(
            after.encoders[: len(before.encoders)] == before.encoders and len(after.encoders) > len(before.encoders)
            for before, after in itertools.pairwise(stages)
        )
        if not stages or not grows or not all(0 <= place < encoders for place in stages[-1].encoders):
            raise ValueError(f"impossible stages of a cascade: {text}")
        return cls(stages)


@dataclass(frozen=True)
class StageAnswers:
    """What a stage says about held-out examples."""

    fusion: EncoderFusion
    log_probabilities: Float64Array  # (n, C)
    familiarity: Float64Array  # (n,)

    @property
    def answers(self) -> IntArray:
        """Return the most probable label of each example, (n,)."""
        return np.asarray(self.log_probabilities.argmax(axis=1))

    @property
    def confidence(self) -> Float64Array:
        """Return its probability, (n,)."""
        return np.asarray(np.exp(self.log_probabilities.max(axis=1)))


@dataclass(frozen=True)
class FusionFit:
    """Fits the stages of cascades to the predictions of E encoders for the same n held-out examples."""

    each: Sequence[HeldOutPredictions]  # of the encoders, with the same rows
    countable: BoolArray  # (n,) whether an example counts for the weights
    equal: bool  # every encoder has the same weight

    def stage(self, encoders: Sequence[int]) -> StageAnswers:
        """Fuse these encoders."""
        chosen = [self.each[place] for place in encoders]
        logs = [predictions.log_probabilities for predictions in chosen]
        fusion = EncoderFusion(np.ones(1))
        if len(chosen) > 1:
            fusion = EncoderFusion.fit(self.weights(logs), logs)
        fused = fusion.log_probabilities(logs)
        familiarity = fusion.familiarity([predictions.familiarity for predictions in chosen], fused)
        return StageAnswers(fusion, fused, familiarity)

    def weights(self, logs: Sequence[Float64Array]) -> Float64Array:
        """Return the weights of encoders with these log-probabilities (n, C)."""
        if self.equal:
            return np.full(len(logs), 1 / len(logs))
        label_ids = self.each[0].label_ids[self.countable]
        return np.maximum(fit_weights([part[self.countable] for part in logs], label_ids), _LEAST)

    def useful(self) -> tuple[int, ...]:
        """Return the places of the encoders that improve the fusion; at least one."""
        places = tuple(range(len(self.each)))
        if self.equal or len(places) == 1:
            return places
        label_ids = self.each[0].label_ids[self.countable]
        while len(places) > 1:
            logs = [self.each[place].log_probabilities[self.countable] for place in places]
            evidence = weight_evidence(logs, label_ids)
            if (evidence > _STANDARD_ERRORS).all():
                break
            # the others are judged again without the worst one, because it may hide another that resembles it
            worst = int(np.argmin(evidence))
            places = places[:worst] + places[worst + 1 :]
        return places

    def cascade(self, steps: Sequence[Sequence[int]]) -> tuple[Cascade, HeldOutPredictions, IntArray]:
        """Fit a cascade whose stages ask these encoders.

        Return it, its own predictions for the held-out examples, and the stage that answered each of them, (n,).
        """
        parts = [self.stage(encoders) for encoders in steps]
        final, first = parts[-1], self.each[0]
        reached = np.zeros(len(first.rows), np.int64)
        stages = []
        for number, (encoders, part) in enumerate(zip(steps, parts)):
            is_last = number == len(steps) - 1
            ask_up_to = NEVER if is_last else _ask_up_to(part, final)
            stages.append(Stage(tuple(encoders), part.fusion, ask_up_to))
            if not is_last:
                reached[(reached == number) & (part.confidence <= ask_up_to)] = number + 1
        predictions = HeldOutPredictions(
            first.rows,
            first.label_ids,
            _chosen([part.log_probabilities for part in parts], reached),
            self._experts(steps[-1]) if len(self.each) > 1 else first.expert_log_probabilities,
            _chosen([part.familiarity for part in parts], reached),
            tuple(self.each) if len(self.each) > 1 else (),
        )
        return Cascade(tuple(stages)), predictions, reached

    def expert_weights(self, encoders: Sequence[int]) -> list[Float64Array]:
        """Return the weights of these encoders where each expert is fused alone: (E,) of each expert."""
        return [self.weights(logs) if len(logs) > 1 else np.ones(1) for logs in self._by_expert(encoders)]

    def _experts(self, encoders: Sequence[int]) -> list[Float64Array]:
        """Fuse each expert of these encoders alone, by weights of its own: (n, C) of each expert."""
        weights = self.expert_weights(encoders)
        return [EncoderFusion(w).log_probabilities(logs) for w, logs in zip(weights, self._by_expert(encoders))]

    def _by_expert(self, encoders: Sequence[int]) -> list[tuple[Float64Array, ...]]:
        return list(zip(*(self.each[place].expert_log_probabilities for place in encoders), strict=True))


def answered_by(cascade: Cascade, each: Sequence[HeldOutPredictions]) -> tuple[Float64Array, Float64Array]:
    """Return log-probabilities (n, C) and familiarity (n,) of a fitted cascade, from what each encoder predicts."""
    reached, parts = np.zeros(len(each[0].rows), np.int64), list[StageAnswers]()
    for number, stage in enumerate(cascade.stages):
        chosen = [each[place] for place in stage.encoders]
        fused = stage.fusion.log_probabilities([part.log_probabilities for part in chosen])
        parts.append(
            StageAnswers(stage.fusion, fused, stage.fusion.familiarity([p.familiarity for p in chosen], fused))
        )
        reached[(reached == number) & (parts[-1].confidence <= stage.ask_up_to)] = number + 1
    return (
        _chosen([part.log_probabilities for part in parts], reached),
        _chosen([part.familiarity for part in parts], reached),
    )


def _chosen(parts: Sequence[Float64Array], reached: IntArray) -> Float64Array:
    """Return the rows (n, ...) of the stage that each example reached."""
    if len(parts) == 1:
        return parts[0]
    chosen = parts[0].copy()
    for number, part in enumerate(parts[1:], 1):
        chosen[reached == number] = part[reached == number]
    return chosen


_STANDARD_ERRORS = 1.0  # by which the weight of a useful encoder is above zero
_LEAST = 1e-9  # a weight that is not above zero; the encoder was found useful among others


def _ask_up_to(part: StageAnswers, final: StageAnswers) -> float:
    """Return the least probability that asks the next stage about 98 % of the examples whose answer would change."""
    changed = np.sort(part.confidence[part.answers != final.answers])
    return float(changed[math.ceil(_ASKED * len(changed)) - 1]) if len(changed) else NEVER
