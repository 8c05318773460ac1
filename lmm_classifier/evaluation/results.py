"""Results on images of known truth: accuracy, calibration of the confidence, unknown images, effect of reranking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lmm_classifier.core import metrics
from lmm_classifier.core.arrays import BoolArray, Float64Array, IntArray
from lmm_classifier.core.label_hierarchy import LabelHierarchy
from lmm_classifier.core.progress import Skipped
from lmm_classifier.evaluation.figures import LABEL_HEAD, label_rows, summary
from lmm_classifier.evaluation.fractions import fraction, groups_of
from lmm_classifier.evaluation.labeled_result import LabeledResult
from lmm_classifier.evaluation.levels import is_right, level_figures
from lmm_classifier.html.charts import reliability_chart
from lmm_classifier.html.confusion_matrix import Pair, pairs_table
from lmm_classifier.html.fragment import fragment, skipped_section, table_section
from lmm_classifier.html.page import Section

KEEP_KNOWN_RATES = (0.95, 0.9, 0.8)  # true-positive rates of known images, to show what each costs
_RISKS = (0.01, 0.02, 0.05, 0.1)  # error rates among the answers
_FALSE_POSITIVE_RATES = (0.01, 0.1)  # of unknown images that are accepted, for CCR


@dataclass(frozen=True, repr=False)
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
    groups: IntArray | None = None
    """Number of the group of each known image, (n,): images of one object belong together. None: each is alone."""
    unknown_groups: IntArray | None = None
    """The same of the unknown images, (m,)."""
    hierarchy: LabelHierarchy | None = None
    """The hierarchy of the labels, those of unknown images included where they are known; None where there is none."""
    familiarity_threshold: float | None = None
    """Familiarity below which the classifier called an image unknown; None where it compared something else."""

    @classmethod
    def of(
        cls,
        results: Sequence[LabeledResult],
        labels: Collection[str],
        identical: Sequence[LabeledResult] = (),
        near_copies: Sequence[LabeledResult] = (),
        groups: Sequence[int] | IntArray | None = None,
        hierarchy: LabelHierarchy | None = None,
    ) -> Evaluation:
        """Sort results into known, unknown and unreadable images.

        Args:
            results: n results.
            labels: those of the index.
            identical: results on images that the index holds.
            near_copies: results on near copies of such images.
            groups: the number of the group of each result, (n,): intervals are by groups then.
            hierarchy: of the labels, those of unknown images included where they are known.
        """
        readable = [entry for entry in results if entry.result.decision.reason != "unreadable"]
        known = [entry for entry in readable if entry.truth in labels]
        unknowns = [entry for entry in readable if entry.truth not in labels]
        group_of = {} if groups is None else {id(entry): int(group) for entry, group in zip(results, groups)}
        return cls(
            known=known,
            unknowns=unknowns,
            unreadable=[entry for entry in results if entry.result.decision.reason == "unreadable"],
            confidence=np.array([entry.score_of_best for entry in known], np.float64),
            correct=np.array([entry.best_label == entry.truth for entry in known], bool),
            accepted=np.array([not (entry.result.is_unknown or entry.result.is_rolled_up) for entry in known], bool),
            familiarity=_familiarity(known),
            unknown_familiarity=_familiarity(unknowns),
            identical=list(identical),
            near_copies=list(near_copies),
            groups=None if groups is None else np.array([group_of[id(entry)] for entry in known], np.int64),
            unknown_groups=None if groups is None else np.array([group_of[id(entry)] for entry in unknowns], np.int64),
            hierarchy=hierarchy,
        )

    @property
    def rolled_up(self) -> BoolArray:
        """Return whether a known image was given a coarse label, (n,)."""
        return np.array([entry.result.is_rolled_up for entry in self.known], bool)

    @property
    def right_at_some_level(self) -> BoolArray:
        """Return whether a known image was given its label, or a coarse label above it, (n,)."""
        hierarchy = self.hierarchy or LabelHierarchy({})
        return np.array([is_right(entry.result, entry.truth, hierarchy) for entry in self.known], bool)

    def to_dict(self, threshold_for: Callable[[float], float] | None = None) -> dict[str, Any]:
        """Return all figures as plain values, ready for JSON; fractions are 0 to 1.

        Args:
            threshold_for: returns the familiarity threshold at which a fraction (0 to 1) of known images is accepted.
                None: the tradeoff between known and unknown images stays empty.
        """
        return {
            "images": {
                "known": len(self.known),
                "unknowns": len(self.unknowns),
                "unreadable": len(self.unreadable),
                "left_out_identical": len(self.identical),
                "left_out_near_copies": len(self.near_copies),
            },
            "groups": self._group_figures(),
            "skipped": [asdict(file) for file in self.skipped],
            "warnings": list(self.warnings),
            "accuracy": fraction(self.correct & self.accepted, self.groups),
            "accuracy_if_a_label_is_forced": fraction(self.correct, self.groups),
            "known_called_unknown": fraction(~(self.accepted | self.rolled_up), self.groups),
            "precision_of_answers": fraction(self.correct[self.accepted], groups_of(self.groups, self.accepted)),
            "classes": self._classes(),
            "confusions": self._confusions(),
            "confidence": self._confidence(),
            "unknown": self._unknown(threshold_for) if self.unknowns and self.known else None,
            "reranking": self._reranking(),
            **({"hierarchy": self._levels(self.hierarchy)} if self.hierarchy else {}),
        }

    def confusion_counts(self) -> Counter[Pair]:
        """Count the images of each pair of a true and a given label, also where both agree.

        The true label is None for an unknown image, and the given label is None where an image was called unknown.
        Coarse answers to known images do not count.
        """
        known = ((entry.truth, entry.given_label) for entry in self.known if not entry.result.is_rolled_up)
        return Counter([*known, *((None, entry.given_label) for entry in self.unknowns)])

    def __repr__(self) -> str:
        counts = f"{len(self.known)} known, {len(self.unknowns)} unknown, {len(self.unreadable)} unreadable"
        right = f", accuracy {100 * (self.correct & self.accepted).mean():.1f}%" if self.known else ""
        return f"Evaluation({counts}{right})"

    def _repr_html_(self) -> str:
        """Return figures, confidence, confusions and labels, for a notebook; `write_evaluation_page` shows images."""
        figures = self.to_dict()
        pairs = pairs_table(self.confusion_counts(), {})
        charts = [reliability_chart(metrics.reliability(self.confidence, self.correct))] if self.known else []
        sections = [
            Section("charts", "Confidence", None if charts else 0, charts=charts),
            table_section("confusions", "Confusions", pairs.head, pairs.rows),
            table_section("labels", "Labels", LABEL_HEAD, label_rows(figures)),
            skipped_section(self.skipped),
        ]
        return fragment("Evaluation", summary(figures), sections, self.warnings)

    def _group_figures(self) -> dict[str, Any] | None:
        """Return how many groups there are and how large the largest is; None where no groups were told."""
        if self.groups is None or self.unknown_groups is None:
            return None
        _, sizes = np.unique(np.concatenate([self.groups, self.unknown_groups]), return_counts=True)
        known, unknown = len(np.unique(self.groups)), len(np.unique(self.unknown_groups))
        return {"known": known, "unknowns": unknown, "largest": int(sizes.max(initial=0))}

    def _levels(self, hierarchy: LabelHierarchy) -> dict[str, Any]:
        known, unknowns = ([(e.result, e.truth) for e in entries] for entries in (self.known, self.unknowns))
        return level_figures(known, unknowns, hierarchy, self.groups, self.unknown_groups)

    def _classes(self) -> list[dict[str, Any]]:
        rows = []
        entries = [*self.known, *self.unknowns]
        answers = np.array([None if entry.result.is_unknown else entry.result.label for entry in entries], object)
        truths = np.array([str(entry.truth) for entry in entries], object)
        both = self.groups is not None and self.unknown_groups is not None
        groups = np.concatenate([self.groups, self.unknown_groups]) if both else None
        for label in sorted({str(entry.truth) for entry in self.known}):
            of_label = truths[: len(self.known)] == label
            of_truth = [entry for entry in self.known if entry.truth == label]
            others = Counter(entry.result.label for entry in of_truth if not entry.result.is_rolled_up)
            del others[label]
            instead = next((answer for answer, _ in others.most_common(1)), None)
            recall = fraction((self.correct & self.accepted)[of_label], groups_of(self.groups, of_label))
            given = answers == label
            precision = fraction(truths[given] == label, groups_of(groups, given))
            rows.append({"label": label, **recall, "precision": precision, "most_often_instead": instead})
        return rows

    def _confusions(self) -> list[dict[str, Any]]:
        pairs = Counter(
            (str(entry.truth), str(entry.best_label)) for entry, correct in zip(self.known, self.correct) if not correct
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

    def _unknown(self, threshold_for: Callable[[float], float] | None) -> dict[str, Any]:
        known, unknown = self.familiarity, self.unknown_familiarity
        caught = np.array([entry.result.is_unknown for entry in self.unknowns])
        thresholds = [(rate, threshold_for(rate)) for rate in KEEP_KNOWN_RATES] if threshold_for else []
        return {
            "caught": fraction(caught, self.unknown_groups),
            "auroc": metrics.auroc(known, unknown),
            "fpr_at_95_tpr": metrics.fpr_at_tpr(known, unknown),
            "ccr_at_fpr": {
                f"{rate:g}": metrics.ccr_at_fpr(known, self.correct, unknown, rate) for rate in _FALSE_POSITIVE_RATES
            },
            "tradeoff": [
                {
                    "keep_known": rate,
                    "known_accepted": float((known >= threshold).mean()),
                    "unknowns_accepted": float((unknown >= threshold).mean()),
                }
                for rate, threshold in thresholds
            ],
        }

    def _reranking(self) -> dict[str, Any]:
        known = [entry for entry in self.known if entry.was_asked]
        unknowns = [entry for entry in self.unknowns if entry.was_asked]
        before = np.array([entry.best_label_of_retrieval == entry.truth for entry in known], bool)
        after = np.array([entry.best_label == entry.truth for entry in known], bool)
        asked, readable = len(known) + len(unknowns), len(self.known) + len(self.unknowns)
        failed = [entry for entry in (*known, *unknowns) if entry.result.decision.reason == "reranker_failed"]
        return {
            "asked": asked,
            "asked_per_1000": 1000 * asked / readable if readable else 0.0,
            "failed": len(failed),
            "corrected": int((after & ~before).sum()),
            "newly_wrong": int((before & ~after).sum()),
        }


def _familiarity(entries: Sequence[LabeledResult]) -> Float64Array:
    values = [entry.result.familiarity for entry in entries]
    return np.array([-np.inf if value is None else value for value in values], np.float64)
