"""A calibration: the fitted rules, their fusion, what is familiar, and the thresholds; stored with an index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.calibration.fusion.cascade import Cascade
from lmm_classifier.calibration.fusion.encoder_fit import EncoderFit
from lmm_classifier.calibration.fusion.ladders import Ladder, ladders_to_json
from lmm_classifier.calibration.guarantees.held_out_results import HeldOutResults
from lmm_classifier.calibration.hierarchy.hierarchy_fit import HierarchyFit
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.calibration.simulated_unknowns import OpenSetTradeoff
from lmm_classifier.core.arrays import Float64Array, nest
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.staleness import ExampleDigests, vectors_digest
from lmm_classifier.neighbors.novelty import keep_known_threshold
from lmm_classifier.rerank.benefit import RerankerBenefit


@dataclass(frozen=True)
class Calibration:
    """The rules fitted to the examples of an index, how they are fused, and the thresholds that were asked for."""

    fits: tuple[EncoderFit, ...]  # of each encoder
    cascade: Cascade
    held_out: HeldOutResults  # of n examples
    conformity_scores: Float64Array  # (n,) ascending: probabilities of the true labels of held-out examples
    rule: str  # the configured rule, see `RuleSpec.name`
    confidence_threshold: float | None = None  # None: no target precision was asked for
    warning: str = ""  # why the held-out results are too optimistic; empty: they are not
    request: CalibrationRequest | None = None  # completed; None: nobody asked, the rule was fitted on opening
    reranker_benefit: RerankerBenefit | None = None  # None: the reranker was not measured
    reranker_date: str = ""  # ISO 8601 day on which it was measured
    tradeoff: OpenSetTradeoff | None = None  # None: not estimated, or the index is too small
    ladders: tuple[Ladder, ...] = ()  # what other orders of the encoders would give; empty for one encoder
    date: str = ""  # ISO 8601 day on which it was stored; empty for one that was not
    hierarchy: HierarchyFit | None = None  # None: no label has a coarse label above it
    renamed: Mapping[str, str] = field(default_factory=dict)  # new names of labels since then, by the former ones

    @property
    def keep_known(self) -> float | None:
        """Return the true-positive rate of known images that was asked for, 0 to 1; None where nobody asked."""
        return self.request.keep_known if self.request else None

    @property
    def not_certified(self) -> str:
        """Return why no guarantee stands behind the confidence threshold; empty where one does, or none is set."""
        return "" if self.confidence_threshold is None else self.warning

    def level_of_each(self, confidence_level: float) -> float:
        """Return the confidence level (0 to 1) of each guarantee, so that all hold with the given one."""
        return confidence_level if self.hierarchy is None else self.hierarchy.level_of_each(confidence_level)

    @cached_property
    def familiarity(self) -> Float64Array:
        """Return the familiarity of the held-out examples, (n,) ascending."""
        return np.sort(self.held_out.familiarity)

    def familiarity_threshold(self, keep: float) -> float:
        """Return the familiarity that a fraction `keep` (0 to 1) of new images of known labels reaches."""
        return keep_known_threshold(self.familiarity, keep) if len(self.familiarity) else -np.inf

    @property
    def useless(self) -> Sequence[int]:
        """Return the places of the encoders that do not improve the fusion, and so are not asked."""
        return sorted(set(range(len(self.fits))) - set(self.cascade.encoders))

    def to_arrays(self, contents: IndexContents) -> dict[str, NDArray[Any]]:
        """Return the arrays to store with the index of `contents`."""
        threshold, benefit = self.confidence_threshold, self.reranker_benefit
        fits: dict[str, NDArray[Any]] = {}
        for place, fit in enumerate(self.fits):
            fits |= nest(f"encoder.{place}", fit.to_arrays())
        return {
            **fits,
            "cascade": np.array([self.cascade.to_json()]),
            **nest("held_out", self.held_out.to_arrays()),
            "conformity_scores": self.conformity_scores,
            "confidence_threshold": np.array([np.nan if threshold is None else threshold]),
            "warning": np.array([self.warning]),
            "tradeoff": np.array([self.tradeoff.to_json() if self.tradeoff else ""]),
            "request": np.array([self.request.to_json() if self.request else ""]),
            **ExampleDigests.of(contents).to_arrays(),
            "vectors": np.array([vectors_digest(contents)]),
            "rule": np.array([self.rule]),
            "date": np.array([self.date]),
            "reranker_date": np.array([self.reranker_date]),
            "ladders": np.array([ladders_to_json(self.ladders)]),
            **({} if benefit is None else nest("reranker_benefit", benefit.to_arrays())),
            **({} if self.hierarchy is None else nest("hierarchy", self.hierarchy.to_arrays())),
        }
