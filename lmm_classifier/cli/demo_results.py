"""The figures of the demo: what retrieval alone gets right, and what reranking changes on confused pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmm_classifier.calibration.calibration_report import CalibrationReport
from lmm_classifier.config import PipelineConfig
from lmm_classifier.data.synthetic.catalog import KNOWN
from lmm_classifier.evaluation.labeled_result import LabeledResult
from lmm_classifier.pipeline.classifier import HybridClassifier

_PAIRS = 5  # pairs of labels that leave-one-out confuses most
_PAGES = {
    "index.html": "every image with its result, confidence, reason and nearest neighbors",
    "evaluation.html": "accuracy, confidence and unknown images, with charts",
    "audit.html": "label issues, duplicates and outliers in the dataset",
    "reranking.html": "the images of confused pairs, before and after reranking",
}


def classify_folder(classifier: HybridClassifier, root: Path) -> list[LabeledResult]:
    """Classify `root/<class>/*.jpg`; the folder's name is the truth."""
    paths = sorted(root.rglob("*.jpg"))
    return [
        LabeledResult(path, result, path.parent.name) for path, result in zip(paths, classifier.classify_paths(paths))
    ]


def summarize(results: Sequence[LabeledResult]) -> list[tuple[str, str]]:
    """Return names and values of the figures at the top of the contact sheet."""
    known = [entry for entry in results if entry.truth in KNOWN]
    unknown = [entry for entry in results if entry.truth not in KNOWN]
    reranked = sum(entry.result.decision.reason in ("reranked", "reranker_failed") for entry in results)
    return [
        ("known images correct", _fraction(sum(entry.result.label == entry.truth for entry in known), len(known))),
        ("known called unknown", _fraction(sum(entry.result.is_unknown for entry in known), len(known))),
        ("unknown called unknown", _fraction(sum(entry.result.is_unknown for entry in unknown), len(unknown))),
        ("reranked", _fraction(reranked, len(results))),
    ]


def pages(output: Path) -> list[str]:
    """Return a line for each page that was written to `output`."""
    return [f"{output / name}: {text}" for name, text in _PAGES.items() if (output / name).is_file()]


@dataclass(frozen=True)
class RerankTrial:
    """Images whose two most probable labels are a confused pair, before and after the reranker."""

    pairs: list[tuple[str, str]]
    before: list[str]  # retrieval's labels
    after: list[LabeledResult]

    @property
    def title(self) -> str:
        """Return the heading of its page."""
        return "Pairs that are confused most, before and after reranking"

    @property
    def corrected(self) -> int:
        """Return how many images were wrong before and are correct after."""
        return sum(label != entry.truth == entry.result.label for label, entry in zip(self.before, self.after))

    @property
    def newly_wrong(self) -> int:
        """Return how many images were correct before and are wrong after."""
        return sum(label == entry.truth != entry.result.label for label, entry in zip(self.before, self.after))

    def summary(self) -> list[tuple[str, str]]:
        """Return names and values of its figures."""
        count = len(self.after)
        correct = sum(label == entry.truth for label, entry in zip(self.before, self.after))
        return [
            ("asked", f"{count} new images"),
            ("correct before", _fraction(correct, count)),
            ("correct after", _fraction(correct + self.corrected - self.newly_wrong, count)),
            ("corrected", str(self.corrected)),
            ("newly wrong", str(self.newly_wrong)),
        ]

    def lines(self) -> list[str]:
        """Return its lines on the terminal."""
        names = ", ".join(f"{first} / {second}" for first, second in self.pairs) or "none"
        figures = ", ".join(f"{name} {value}" for name, value in self.summary())
        return [f"confused most by leave-one-out: {names}", f"reranked by augmented views: {figures}"]


def rerank_confused_pairs(
    config: PipelineConfig, report: CalibrationReport, results: Sequence[LabeledResult]
) -> RerankTrial:
    """Ask the reranker about every new image whose two best candidates are a pair that leave-one-out confuses.

    The gate is set aside for this trial. It shows what reranking does, also where it does not pay.
    """
    asking = config.model_copy(deep=True)
    asking.rerank.gate.mode = "threshold"
    asking.retrieval.confidence_threshold = 1.0
    asking.allow_unknown = False
    classifier = HybridClassifier(asking)
    pairs = _confused_pairs(report, classifier.index.label_names)
    chosen = [entry for entry in results if entry.truth in KNOWN and _best_two(entry) in pairs]
    reranked = classifier.classify_paths(entry.image for entry in chosen)
    after = [LabeledResult(entry.image, result, entry.truth) for entry, result in zip(chosen, reranked)]
    after.sort(key=lambda entry: retrieval_label(entry) == entry.result.label)  # changed answers come first
    names = [(first, second) for first, second in map(sorted, pairs)]
    return RerankTrial(names, [retrieval_label(entry) for entry in after], after)


def _confused_pairs(report: CalibrationReport, names: Sequence[str]) -> list[frozenset[str]]:
    """Return the pairs of labels that leave-one-out confuses most, by the probability given to the wrong one."""
    predictions = report.predictions
    if predictions is None:
        return []
    probabilities = np.exp(predictions.log_probabilities)  # (n, C)
    mass: dict[frozenset[str], float] = defaultdict(float)
    for row, label in zip(probabilities, predictions.label_ids):
        for other in np.argsort(-row)[:3]:
            if other != label:
                mass[frozenset((names[label], names[other]))] += float(row[other])
    return sorted(mass, key=lambda pair: -mass[pair])[:_PAIRS]


def retrieval_label(entry: LabeledResult) -> str:
    """Return the label that retrieval alone would give."""
    return max(entry.result.candidates, key=lambda candidate: candidate.score).label


def _best_two(entry: LabeledResult) -> frozenset[str]:
    by_score = sorted(entry.result.candidates, key=lambda candidate: -candidate.score)
    return frozenset(candidate.label for candidate in by_score[:2])


def _fraction(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / max(whole, 1):.0f}%)"
