"""A study of verdicts whose truth is known: accuracy, confidence, unknowns, and what the second look was worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core import metrics
from lmm_classifier.core.datatypes import Candidate, Classification
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.data.image_folder import scan_corpus
from lmm_classifier.pipeline.classifier import HybridClassifier

KEEPS = (0.95, 0.9, 0.8)  # of the known, to show what each costs
_RISKS = (0.01, 0.02, 0.05, 0.1)
_RATES = (0.01, 0.1)  # of strangers that pass, for CCR
_PAIRS = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture of the sheet, what was said about it, and what it truly shows, where that is known."""

    picture: Path
    result: Classification
    truth: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """Verdicts split into what is known, what is strange, and what could not be read.

    The arrays are over the known (n,) and the strangers (m,). `right` says whether the best label is the true one,
    whether or not it was given; `given` whether a label was given at all.
    """

    known: list[Entry]
    strangers: list[Entry]
    unreadable: list[Entry]
    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]
    given: NDArray[np.bool_]
    familiarity: NDArray[np.float64]
    strangers_familiarity: NDArray[np.float64]

    @classmethod
    def of(cls, entries: Sequence[Entry], labels: Collection[str]) -> Evaluation:
        """Sort `entries`; what is none of `labels` is a stranger."""
        readable = [entry for entry in entries if entry.result.decision.reason != "unreadable"]
        known = [entry for entry in readable if entry.truth in labels]
        strangers = [entry for entry in readable if entry.truth not in labels]
        return cls(
            known,
            strangers,
            [entry for entry in entries if entry.result.decision.reason == "unreadable"],
            np.array([entry.result.score for entry in known], np.float64),
            np.array([_best(entry) == entry.truth for entry in known], bool),
            np.array([not entry.result.is_unknown for entry in known], bool),
            _familiarity(known),
            _familiarity(strangers),
        )

    def to_dict(self, threshold_for: Callable[[float], float]) -> dict[str, Any]:
        """All figures as plain values, shares 0..1; `threshold_for` gives the familiarity that keeps a share."""
        said_right = self.right & self.given
        return {
            "pictures": {
                "known": len(self.known),
                "strangers": len(self.strangers),
                "unreadable": len(self.unreadable),
            },
            "accuracy": _share(said_right),
            "accuracy_if_a_label_is_forced": _share(self.right),
            "known_called_unknown": _share(~self.given),
            "precision_of_answers": _share(self.right[self.given]),
            "classes": self._classes(),
            "confusions": self._confusions(),
            "confidence": self._confidence(),
            "unknown": self._unknown(threshold_for) if self.strangers and self.known else None,
            "second_look": self._second_look(),
        }

    def _classes(self) -> list[dict[str, Any]]:
        rows = []
        for label in sorted({str(entry.truth) for entry in self.known}):
            mine = np.array([entry.truth == label for entry in self.known])
            others = Counter(entry.result.label for entry in self.known if entry.truth == label)
            del others[label]
            instead = next((label for label, _ in others.most_common(1)), None)
            rows.append({"label": label, **_share((self.right & self.given)[mine]), "most_often_instead": instead})
        return rows

    def _confusions(self) -> list[dict[str, Any]]:
        pairs = Counter(
            (str(entry.truth), str(_best(entry))) for entry, right in zip(self.known, self.right) if not right
        )
        return [{"truth": truth, "answer": answer, "count": n} for (truth, answer), n in pairs.most_common(_PAIRS)]

    def _confidence(self) -> dict[str, Any]:
        confidence, right = self.confidence, self.right
        return {
            "mean": float(confidence.mean()) if len(confidence) else None,
            "expected_calibration_error": metrics.expected_calibration_error(confidence, right),
            "brier": metrics.brier_score(confidence, right),
            "area_under_risk_coverage": metrics.area_under_risk_coverage(confidence, right),
            "coverage_at_risk": {f"{risk:g}": metrics.coverage_at_risk(confidence, right, risk) for risk in _RISKS},
            "reliability": [
                {"count": one.count, "confidence": one.confidence, "accuracy": one.accuracy}
                for one in metrics.reliability(confidence, right)
            ],
        }

    def _unknown(self, threshold_for: Callable[[float], float]) -> dict[str, Any]:
        known, strange = self.familiarity, self.strangers_familiarity
        caught = np.array([entry.result.is_unknown for entry in self.strangers])
        return {
            "caught": _share(caught),
            "auroc": metrics.auroc(known, strange),
            "false_positives_at_95": metrics.false_positives_at(known, strange),
            "correct_at_false_positives": {
                f"{rate:g}": metrics.correct_at_false_positives(known, self.right, strange, rate) for rate in _RATES
            },
            "trade": [
                {
                    "keep_known": keep,
                    "known_kept": float((known >= threshold_for(keep)).mean()),
                    "strangers_let_through": float((strange >= threshold_for(keep)).mean()),
                }
                for keep in KEEPS
            ],
        }

    def _second_look(self) -> dict[str, Any]:
        asked = [entry for entry in self.known if entry.result.decision.reason in ("reranked", "reranker_failed")]
        before = [_first_choice(entry) == entry.truth for entry in asked]
        after = [_best(entry) == entry.truth for entry in asked]
        strange = [one for one in self.strangers if one.result.decision.reason in ("reranked", "reranker_failed")]
        read = len(self.known) + len(self.strangers)
        return {
            "asked": len(asked) + len(strange),
            "asked_per_1000": 1000 * (len(asked) + len(strange)) / read if read else 0.0,
            "failed": sum(one.result.decision.reason == "reranker_failed" for one in (*asked, *strange)),
            "rescued": sum(now and not then for then, now in zip(before, after)),
            "broken": sum(then and not now for then, now in zip(before, after)),
        }


def evaluate(
    folder: Path,
    classifier: HybridClassifier,
    leave_out_identical: bool = False,
    progress: ProgressCallback | None = None,
) -> Evaluation:
    """Classify `folder/<label>/**`; a folder that is no label of the index, such as `unknown`, holds strangers."""
    examples = scan_corpus(folder).examples
    paths = [folder / example.path for example in examples]
    entries = []
    for number, result in enumerate(classifier.classify_paths(paths, leave_out_identical)):
        entries.append(Entry(paths[number], result, examples[number].label))
        if progress is not None:
            progress(Progress("evaluating", number + 1, len(paths)))
    return Evaluation.of(entries, set(classifier.index.label_names))


def _best(entry: Entry) -> str | None:
    """The label that would be given if one had to be."""
    return entry.result.candidates[0].label if entry.result.candidates else None


def _first_choice(entry: Entry) -> str | None:
    """The label that retrieval alone would have given."""

    def score(candidate: Candidate) -> float:
        return candidate.score

    return max(entry.result.candidates, key=score).label if entry.result.candidates else None


def _familiarity(entries: Sequence[Entry]) -> NDArray[np.float64]:
    values = [entry.result.familiarity for entry in entries]
    return np.array([-np.inf if value is None else value for value in values], np.float64)


def _share(flags: NDArray[np.bool_]) -> dict[str, Any]:
    right, count = int(flags.sum()), len(flags)
    low, high = metrics.wilson_interval(right, count)
    return {"share": right / count if count else None, "count": right, "of": count, "interval": [low, high]}
