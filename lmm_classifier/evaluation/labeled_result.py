"""One image of known truth, with what was answered."""

from __future__ import annotations

from dataclasses import dataclass

from lmm_classifier.core.datatypes import Candidate, Classification
from lmm_classifier.data.places import Place


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

    @property
    def given_label(self) -> str | None:
        """Return the label that was given, None where the image was called unknown."""
        return None if self.result.is_unknown else self.result.label

    @property
    def best_label(self) -> str | None:
        """Return the label that would be given if one had to be; None where there is none."""
        return self.result.candidates[0].label if self.result.candidates else None

    @property
    def score_of_best(self) -> float:
        """Return the score of that label, 0 to 1; the score of a coarse answer is of more than one label."""
        return self.result.candidates[0].score if self.result.is_rolled_up else self.result.score

    @property
    def best_label_of_retrieval(self) -> str | None:
        """Return the label that retrieval alone would have given; None where there is none."""

        def score(candidate: Candidate) -> float:
            return candidate.score

        return max(self.result.candidates, key=score).label if self.result.candidates else None

    @property
    def was_asked(self) -> bool:
        """Return whether the reranker was asked about the image."""
        return self.result.decision.reason in ("reranked", "reranker_failed")
