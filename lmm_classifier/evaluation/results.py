"""Results on images of known truth: accuracy, calibration of the confidence, unknown images, effect of reranking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lmm_classifier.core import metrics
from lmm_classifier.core.arrays import BoolArray, Float64Array
from lmm_classifier.core.datatypes import Candidate, Classification
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.places import Place
from lmm_classifier.evaluation.fractions import fraction, fraction_of
from lmm_classifier.evaluation.levels import is_right, is_rolled_up, level_figures

KEEP_KNOWN_RATES = (0.95, 0.9, 0.8)  # true-positive rates of known images, to show what each costs
_RISKS = (0.01, 0.02, 0.05, 0.1)  # error rates among the answers
_FALSE_POSITIVE_RATES = (0.01, 0.1)  # of unknown images that are accepted, for CCR


@dataclass(frozen=True, slots=True)
class LabeledResult:
    """One image file with its result, and its true label where that is known.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import HybridClassifier, LabeledResult, PipelineConfig
        >>> image = sorted(Path("test_images/stripes").glob("*.png"))[0]
        >>> (result,) = HybridClassifier(PipelineConfig.offline()).classify_paths([image])
        >>> LabeledResult(image, result, truth="stripes").truth
        'stripes'
    """

    image: Place
    """The image file, or where else its bytes are."""
    result: Classification
    """What the classifier answered."""
    truth: str | None = None
    """The true label; None where it is not known."""


@dataclass(frozen=True)
class Evaluation:
    """Results on known, unknown and unreadable images. A known image has a true label that is in the index.

    Example:
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, evaluate_folder
        >>> classifier = HybridClassifier(PipelineConfig.offline())
        >>> evaluation = evaluate_folder("test_images", classifier)
        >>> len(evaluation.correct) == len(evaluation.known)
        True
        >>> figures = evaluation.to_dict(classifier.retriever.calibration.familiarity_threshold)
        >>> 0 <= figures["accuracy"]["fraction"] <= 1
        True
    """

    known: list[LabeledResult]
    """Results on the n known images."""
    unknowns: list[LabeledResult]
    """Results on the m unknown images."""
    unreadable: list[LabeledResult]
    """Results on files that are no images."""
    confidence: Float64Array
    """Score of the best label of each known image, 0 to 1, (n,)."""
    correct: BoolArray
    """Whether the best label of a known image is the true one, even where the image was called unknown, (n,)."""
    accepted: BoolArray
    """Whether a known image was given a label, and not a coarse one, (n,)."""
    familiarity: Float64Array
    """Familiarity of the known images, (n,)."""
    unknown_familiarity: Float64Array
    """Familiarity of the unknown images, (m,)."""
    skipped: tuple[Skipped, ...] = ()
    """Files of the folder that were not classified, with the reason."""
    warnings: tuple[str, ...] = ()
    """What a reader of the figures should know of the folder."""
    identical: list[LabeledResult] = field(default_factory=list)
    """Results on images that the index holds; no figure stands on them."""
    near_copies: list[LabeledResult] = field(default_factory=list)
    """Results on near copies of images that the index holds; no figure stands on them."""
    hierarchy: LabelHierarchy | None = None
    """The hierarchy of the labels, those of unknown images included where they are known; None where there is none."""

    @classmethod
    def of(
        cls,
        results: Sequence[LabeledResult],
        labels: Collection[str],
        identical: Sequence[LabeledResult] = (),
        near_copies: Sequence[LabeledResult] = (),
        hierarchy: LabelHierarchy | None = None,
    ) -> Evaluation:
        """Sort results into known, unknown and unreadable images; `labels` are those of the index."""
        readable = [entry for entry in results if entry.result.decision.reason != "unreadable"]
        known = [entry for entry in readable if entry.truth in labels]
        unknowns = [entry for entry in readable if entry.truth not in labels]
        return cls(
            known=known,
            unknowns=unknowns,
            unreadable=[entry for entry in results if entry.result.decision.reason == "unreadable"],
            confidence=np.array([_score_of_best(entry) for entry in known], np.float64),
            correct=np.array([_best_label(entry) == entry.truth for entry in known], bool),
            accepted=np.array([not (entry.result.is_unknown or is_rolled_up(entry.result)) for entry in known], bool),
            familiarity=_familiarity(known),
            unknown_familiarity=_familiarity(unknowns),
            identical=list(identical),
            near_copies=list(near_copies),
            hierarchy=hierarchy,
        )

    @property
    def rolled_up(self) -> BoolArray:
        """Return whether a known image was given a coarse label, (n,)."""
        return np.array([is_rolled_up(entry.result) for entry in self.known], bool)

    @property
    def right_at_some_level(self) -> BoolArray:
        """Return whether a known image was given its label, or a coarse label above it, (n,)."""
        hierarchy = self.hierarchy or LabelHierarchy({})
        return np.array([is_right(entry.result, entry.truth, hierarchy) for entry in self.known], bool)

    def to_dict(self, threshold_for: Callable[[float], float]) -> dict[str, Any]:
        """Return all figures as plain values, ready for JSON; fractions are 0 to 1.

        Args:
            threshold_for: returns the familiarity threshold at which a fraction (0 to 1) of known images is accepted.
        """
        return {
            "images": {
                "known": len(self.known),
                "unknowns": len(self.unknowns),
                "unreadable": len(self.unreadable),
                "left_out_identical": len(self.identical),
                "left_out_near_copies": len(self.near_copies),
            },
            "skipped": [asdict(file) for file in self.skipped],
            "warnings": list(self.warnings),
            "accuracy": fraction(self.correct & self.accepted),
            "accuracy_if_a_label_is_forced": fraction(self.correct),
            "known_called_unknown": fraction(~(self.accepted | self.rolled_up)),
            "precision_of_answers": fraction(self.correct[self.accepted]),
            "classes": self._classes(),
            "confusions": self._confusions(),
            "confidence": self._confidence(),
            "unknown": self._unknown(threshold_for) if self.unknowns and self.known else None,
            "reranking": self._reranking(),
            **({"hierarchy": self._levels(self.hierarchy)} if self.hierarchy else {}),
        }

    def _levels(self, hierarchy: LabelHierarchy) -> dict[str, Any]:
        known, unknowns = ([(e.result, e.truth) for e in entries] for entries in (self.known, self.unknowns))
        return level_figures(known, unknowns, hierarchy)

    def _classes(self) -> list[dict[str, Any]]:
        rows = []
        given = Counter(entry.result.label for entry in (*self.known, *self.unknowns) if not entry.result.is_unknown)
        right = Counter(str(entry.truth) for entry, flag in zip(self.known, self.correct & self.accepted) if flag)
        for label in sorted({str(entry.truth) for entry in self.known}):
            of_label = np.array([entry.truth == label for entry in self.known])
            of_truth = [entry for entry in self.known if entry.truth == label]
            answers = Counter(entry.result.label for entry in of_truth if not is_rolled_up(entry.result))
            del answers[label]
            instead = next((answer for answer, _ in answers.most_common(1)), None)
            correct = (self.correct & self.accepted)[of_label]
            precision = fraction_of(right[label], given[label])
            rows.append({"label": label, **fraction(correct), "precision": precision, "most_often_instead": instead})
        return rows

    def _confusions(self) -> list[dict[str, Any]]:
        pairs = Counter(
            (str(entry.truth), str(_best_label(entry)))
            for entry, correct in zip(self.known, self.correct)
            if not correct
        )
        return [{"truth": truth, "answer": answer, "count": count} for (truth, answer), count in pairs.most_common()]

    def _confidence(self) -> dict[str, Any]:
        confidence, correct = self.confidence, self.correct
        return {
            "mean": float(confidence.mean()) if len(confidence) else None,
            "expected_calibration_error": metrics.expected_calibration_error(confidence, correct),
            "brier": metrics.brier_score(confidence, correct),
            "area_under_risk_coverage": metrics.area_under_risk_coverage(confidence, correct),
            "coverage_at_risk": {f"{risk:g}": metrics.coverage_at_risk(confidence, correct, risk) for risk in _RISKS},
            "reliability": [
                {"count": part.count, "confidence": part.confidence, "accuracy": part.accuracy}
                for part in metrics.reliability(confidence, correct)
            ],
        }

    def _unknown(self, threshold_for: Callable[[float], float]) -> dict[str, Any]:
        known, unknown = self.familiarity, self.unknown_familiarity
        caught = np.array([entry.result.is_unknown for entry in self.unknowns])
        return {
            "caught": fraction(caught),
            "auroc": metrics.auroc(known, unknown),
            "fpr_at_95_tpr": metrics.fpr_at_tpr(known, unknown),
            "ccr_at_fpr": {
                f"{rate:g}": metrics.ccr_at_fpr(known, self.correct, unknown, rate) for rate in _FALSE_POSITIVE_RATES
            },
            "tradeoff": [
                {
                    "keep_known": rate,
                    "known_accepted": float((known >= threshold_for(rate)).mean()),
                    "unknowns_accepted": float((unknown >= threshold_for(rate)).mean()),
                }
                for rate in KEEP_KNOWN_RATES
            ],
        }

    def _reranking(self) -> dict[str, Any]:
        known = [entry for entry in self.known if _was_asked(entry)]
        unknowns = [entry for entry in self.unknowns if _was_asked(entry)]
        before = np.array([_best_label_of_retrieval(entry) == entry.truth for entry in known], bool)
        after = np.array([_best_label(entry) == entry.truth for entry in known], bool)
        asked, readable = len(known) + len(unknowns), len(self.known) + len(self.unknowns)
        failed = [entry for entry in (*known, *unknowns) if entry.result.decision.reason == "reranker_failed"]
        return {
            "asked": asked,
            "asked_per_1000": 1000 * asked / readable if readable else 0.0,
            "failed": len(failed),
            "corrected": int((after & ~before).sum()),
            "newly_wrong": int((before & ~after).sum()),
        }


def _best_label(entry: LabeledResult) -> str | None:
    """Return the label that would be given if one had to be."""
    return entry.result.candidates[0].label if entry.result.candidates else None


def _score_of_best(entry: LabeledResult) -> float:
    """Return the score of that label; the score of a coarse answer is of more than one label."""
    return entry.result.candidates[0].score if is_rolled_up(entry.result) else entry.result.score


def _best_label_of_retrieval(entry: LabeledResult) -> str | None:
    """Return the label that retrieval alone would have given."""

    def score(candidate: Candidate) -> float:
        return candidate.score

    return max(entry.result.candidates, key=score).label if entry.result.candidates else None


def _was_asked(entry: LabeledResult) -> bool:
    return entry.result.decision.reason in ("reranked", "reranker_failed")


def _familiarity(entries: Sequence[LabeledResult]) -> Float64Array:
    values = [entry.result.familiarity for entry in entries]
    return np.array([-np.inf if value is None else value for value in values], np.float64)
