"""The values that every room shares: small, frozen, strictly read-only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lmm_classifier.core.explain import explain

if TYPE_CHECKING:
    from PIL.Image import Image

    from lmm_classifier.core.arrays import Float32Array

Action = Literal["accept", "rerank", "reject"]
Reason = Literal[
    "confident",  # the score of the best label reaches retrieval.confidence_threshold
    "rolled_up",  # no label is sure enough, but a coarse label of the hierarchy reaches the threshold of its level
    "ambiguous",  # labels compete; the reranker is asked, or the best label stands where asking is off or does not pay
    "novel",  # less familiar than retrieval.keep_known allows, or less similar than retrieval.open_set_threshold
    "forced",  # not familiar either, but allow_unknown is off, so the best label stands
    "reranked",  # the reranker chose among the candidates
    "reranker_failed",  # the reranker gave no usable answer, so the best label of retrieval stands
    "unreadable",  # the file could not be decoded
]

DECIDE_THEMSELVES: tuple[Reason, ...] = ("confident", "reranked")  # results that need no person


@dataclass(frozen=True, slots=True)
class Example:
    """One labeled image of the dataset.

    Example:
        >>> from lmm_classifier import Example
        >>> example = Example("tulip/0001.jpg", "tulip")
        >>> example.label
        'tulip'
    """

    path: str
    """Path relative to the dataset root, POSIX style. It is the id of the example."""
    label: str
    """Name of the class."""


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A retrieved example with its similarity to the query.

    Example:
        >>> from lmm_classifier import Example, Neighbor
        >>> neighbor = Neighbor(Example("tulip/0001.jpg", "tulip"), similarity=0.83)
        >>> f"{neighbor.example.label} {neighbor.similarity:.2f}"
        'tulip 0.83'
    """

    example: Example
    """The example."""
    similarity: float
    """Cosine similarity to the query, -1 to 1, higher is more similar."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A label that the image may have, with its supporting neighbors.

    Example:
        >>> from lmm_classifier import Candidate, Example, Neighbor
        >>> nearest = Neighbor(Example("tulip/0001.jpg", "tulip"), similarity=0.83)
        >>> candidate = Candidate("tulip", score=0.91, neighbors=(nearest,))
        >>> candidate.neighbors[0].example.path
        'tulip/0001.jpg'
        >>> candidate.rerank_score is None
        True
    """

    label: str
    """Name of the class."""
    score: float
    """Probability that retrieval gives to the label, 0 to 1."""
    neighbors: tuple[Neighbor, ...]
    """Examples of this label that support it, nearest first."""
    rerank_score: float | None = None
    """Probability that the reranker gives to the label, 0 to 1; None where no reranker answered."""
    encoder: str | None = None
    """Name of the encoder that supports the label most, and found the neighbors; None where there is only one."""


@dataclass(frozen=True, slots=True)
class CoarseCandidate:
    """A coarse label that the image may have: the best one of a level of the hierarchy.

    Example:
        >>> from lmm_classifier import CoarseCandidate
        >>> CoarseCandidate(("clothes", "tops"), score=0.97).label
        'tops'
    """

    path: tuple[str, ...]
    """The way from the root to the coarse label, itself included."""
    score: float
    """Probability that one of the labels below it is right, 0 to 1."""

    @property
    def label(self) -> str:
        """Name of the coarse label."""
        return self.path[-1]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, and the name of the rule that decided it.

    Example:
        >>> from lmm_classifier import Decision
        >>> decision = Decision("accept", "confident")
        >>> decision.action, decision.reason
        ('accept', 'confident')
    """

    action: Action
    """`accept` the label, ask the reranker (`rerank`), or `reject` the image as unknown."""
    reason: Reason
    """Stable name to group results by."""


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """A question to a reranker: which of the candidates does the image show?"""

    image: Image
    """Upright RGB image."""
    candidates: tuple[Candidate, ...]
    """The labels to choose from, 1 to 26, best first."""
    content_hash: str | None = None
    """SHA-256 of the image's file in hexadecimal; None where the image has no file."""
    leave_out: str | None = None
    """Content hash of the examples that the reranker must not use (leave-one-out); None where it may use all."""
    references: tuple[tuple[Image, ...], ...] = ()
    """Example images, one tuple per candidate and in their order; empty where the reranker wants none."""

    def __post_init__(self) -> None:
        if self.references and len(self.references) != len(self.candidates):
            raise ValueError(f"expected references for {len(self.candidates)} candidates, got {len(self.references)}")


@dataclass(frozen=True, slots=True)
class RerankResult:
    """A reranker's answer about one image."""

    scores: tuple[float, ...]
    """One probability per candidate, in their order, summing to 1; empty where there is no answer."""
    option_mass: float = 1.0
    """Probability that the model gave to all options together, 0 to 1; near 0 it did not answer the question."""
    failure: str = ""
    """Why there is no answer; empty where there is one."""
    disagreement: float = 0.0
    """How far the answers to several orders or references differ, 0 to 1; higher is less certain."""
    none_probability: float | None = None
    """Probability of "none of these", 0 to 1; None where it was not offered. It never decides a result alone."""


@dataclass(frozen=True, slots=True)
class Classification:
    """The result on one image.

    Example:
        >>> from lmm_classifier import Candidate, Classification, Decision, Example, Neighbor
        >>> tulip = Candidate("tulip", 0.91, (Neighbor(Example("tulip/0001.jpg", "tulip"), 0.83),))
        >>> rose = Candidate("rose", 0.09, (Neighbor(Example("rose/0007.jpg", "rose"), 0.61),))
        >>> result = Classification(
        ...     "tulip", 0.91, False, Decision("accept", "confident"), (tulip, rose), similarity=0.83, familiarity=0.2
        ... )
        >>> result.label, result.score, result.is_unknown
        ('tulip', 0.91, False)
        >>> result.why
        'vote tulip 0.91, next rose 0.09; familiarity +0.2, nearest similarity 0.83'
        >>> result.to_dict()["reason"]
        'confident'
    """

    label: str
    """The predicted label, a coarse one where `reason` is `rolled_up`, or `unknown_label` where it was rejected."""
    score: float
    """Calibrated probability that the label is right, given that it is one of the dataset; 0 to 1, higher is surer.

    Where a reranker answered, it combines the reranker's probability with retrieval's. Of an unknown image it is the
    best candidate's; `familiarity` then says why the label was not given.
    """
    used_reranker: bool
    """Whether the reranker's answer had its part in the label."""
    decision: Decision
    """What was decided, and why."""
    candidates: tuple[Candidate, ...]
    """The labels that compete, best first, with their supporting neighbors."""
    similarity: float | None = None
    """Cosine of the nearest example, -1 to 1; None where nothing could be compared."""
    familiarity: float | None = None
    """In-distribution score in robust standard deviations, about -4 to 4, higher is more familiar.

    0 is as familiar as a typical example; None where nothing could be compared.
    """
    path: str | None = None
    """The image file; None where the image has no file."""
    content_hash: str | None = None
    """SHA-256 of the file's bytes in hexadecimal; None where they could not be read."""
    error: str | None = None
    """Why the file could not be read, or why the reranker that was asked gave no answer."""
    prediction_set: tuple[str, ...] | None = None
    """Labels of retrieval, likeliest first, that together hold the true one with the configured probability.

    That probability is 1 - `retrieval.prediction_set_alpha`; None where that is not set.
    """
    encoders: tuple[str, ...] = ()
    """Names of the encoders that were asked; empty where there is only one."""
    disagreement: float | None = None
    """How far the reranker's answers in other orders, references or views differ, 0 to 1; None without an answer."""
    probabilities: Mapping[str, float] | None = field(default=None, hash=False)
    """Probability that retrieval gives to each label of the index, likeliest first; they sum to 1.

    Labels that the options exclude have 0. None unless `AnswerOptions.all_labels` asks for it.
    """
    vector: Float32Array | None = field(default=None, compare=False, repr=False)
    """Normalized vector (dim,) of the first encoder that was asked; None unless `AnswerOptions.vector` asks for it."""
    adaptations: tuple[str, ...] = ()
    """How the classifier was adapted to new images: `experimental_learned_metric`, `estimated_priors`, or not."""
    label_path: tuple[str, ...] | None = None
    """The way from the root of the hierarchy to the label; empty for an unknown image, None without a hierarchy."""
    level: int | None = None
    """0: the answer is a label; 1, 2, ...: a coarse label, the higher the coarser; None for any other answer."""

    @property
    def is_unknown(self) -> bool:
        """Whether no label was given: the image is unfamiliar, or its file could not be read."""
        return self.decision.action == "reject"

    @property
    def is_rolled_up(self) -> bool:
        """Whether a coarse label of the hierarchy is the answer."""
        return self.decision.reason == "rolled_up"

    @property
    def why(self) -> str:
        """One plain sentence with the numbers behind the decision."""
        return explain(
            self.decision.reason,
            [(candidate.label, candidate.score) for candidate in self.candidates],
            (self.label, self.score),
            self.similarity,
            self.familiarity,
            self.error,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON: the result first, then the candidates. The vector is left out."""
        return {
            "path": self.path,
            "label": self.label,
            "score": round(self.score, 6),
            "is_unknown": self.is_unknown,
            "action": self.decision.action,
            "reason": self.decision.reason,
            "why": self.why,
            "used_reranker": self.used_reranker,
            "disagreement": None if self.disagreement is None else round(self.disagreement, 6),
            "similarity": None if self.similarity is None else round(self.similarity, 6),
            "familiarity": None if self.familiarity is None else round(self.familiarity, 6),
            "error": self.error,
            "content_hash": self.content_hash,
            **({"encoders": list(self.encoders)} if self.encoders else {}),
            **({"adaptations": list(self.adaptations)} if self.adaptations else {}),
            **({} if self.label_path is None else {"level": self.level, "label_path": list(self.label_path)}),
            "prediction_set": None if self.prediction_set is None else list(self.prediction_set),
            "candidates": [_candidate_to_dict(candidate) for candidate in self.candidates],
            **({} if self.probabilities is None else {"probabilities": _rounded(self.probabilities)}),
        }

    def to_json(self) -> str:
        """Return one line of ASCII JSON; file names of any bytes survive the round trip."""
        return json.dumps(self.to_dict())


def _rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {label: round(probability, 6) for label, probability in probabilities.items()}


def _candidate_to_dict(candidate: Candidate) -> dict[str, Any]:
    return {
        "label": candidate.label,
        "score": round(candidate.score, 6),
        "rerank_score": None if candidate.rerank_score is None else round(candidate.rerank_score, 6),
        **({} if candidate.encoder is None else {"encoder": candidate.encoder}),
        "neighbors": [
            {"path": near.example.path, "label": near.example.label, "similarity": round(near.similarity, 6)}
            for near in candidate.neighbors
        ],
    }
