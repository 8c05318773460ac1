"""The words of this project: small frozen values that every room shares. Strictly read-only."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

Action = Literal["accept", "rerank", "reject"]
Reason = Literal[
    "confident",  # the vote passes retrieval.confidence_threshold
    "ambiguous",  # labels compete; asks the reranker, or stands as a best guess where asking is off or not worth it
    "novel",  # nothing like it: less familiar than retrieval.keep_known allows (or open_set_threshold, by hand)
    "forced",  # nothing like it, but allow_unknown is off: the closed set must answer
    "reranked",  # the reranker chose among the candidates
    "reranker_failed",  # the reranker gave no usable answer: retrieval's stands
    "unreadable",  # the file could not be turned into pixels
]


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled picture of the corpus; `path` is relative to the corpus root, POSIX style, and is its id."""

    path: str
    label: str


@dataclass(frozen=True, slots=True)
class Neighbor:
    """A retrieved example with its cosine similarity to the query, -1..1, higher is nearer."""

    example: Example
    similarity: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A label in contention and the neighbours that speak for it, nearest first.

    `score` is the label's share of the retrieval vote, 0..1. `rerank_score` is the reranker's
    share for it, 0..1, or None where no reranker answered.
    """

    label: str
    score: float
    neighbors: tuple[Neighbor, ...]
    rerank_score: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided and the name of the branch that decided it."""

    action: Action
    reason: Reason


@dataclass(frozen=True, slots=True)
class Question:
    """What a reranker is asked: which of `candidates` (1 to 26, best first) does the picture show?

    `image` is upright RGB. `content_hash` identifies the picture's file, where there is one;
    `leave_out` is the hash of examples that must not be looked at again (leave-one-out), or None.
    `references` are example pictures, one tuple per candidate and in their order; empty where the reranker wants none.
    """

    image: Image
    candidates: tuple[Candidate, ...]
    content_hash: str | None = None
    leave_out: str | None = None
    references: tuple[tuple[Image, ...], ...] = ()

    def __post_init__(self) -> None:
        if self.references and len(self.references) != len(self.candidates):
            raise ValueError(f"expected references for {len(self.candidates)} candidates, got {len(self.references)}")


@dataclass(frozen=True, slots=True)
class Reranked:
    """A reranker's answer about one picture: one share per candidate, in their order, summing to 1.

    `label_mass` is the probability, 0..1, that the model gave to the options at all; near 0 it was
    not answering the question. A non-empty `failure` says why there is no answer (`scores` is then empty).
    `disagreement`, 0..1, is how far the answers to several orders or references lie apart: a doubt. `none_share`, 0..1,
    is the probability of "none of these", or None where that was not offered; it never makes a verdict of its own.
    """

    scores: tuple[float, ...]
    label_mass: float = 1.0
    failure: str = ""
    disagreement: float = 0.0
    none_share: float | None = None


@dataclass(frozen=True, slots=True)
class Classification:
    """The verdict on one picture.

    `score`, 0..1, higher is surer: the calibrated probability that the label is right, given that it is one of the
    corpus; where a reranker answered, retrieval's and its own put together. For `unknown` it still is the best
    candidate's: `familiarity` says why it was not given. That is 0 for a picture as familiar as a typical example,
    in robust standard deviations, -4..4, higher is more familiar. `similarity` is the cosine of the nearest example,
    -1..1. Both are None when nothing could be compared.
    `used_reranker` is true when the reranker's answer had its part in the label; `disagreement`, 0..1, is then how far
    its answers to the same question lie apart (in other orders, by other references or views). `error` says why a file
    could not be read, or why the reranker that was asked gave no answer. `label_set` are the labels that together hold
    the true one with the probability 1 - `retrieval.set_alpha`, where that is set; retrieval's, likeliest first.
    """

    label: str
    score: float
    used_reranker: bool
    decision: Decision
    candidates: tuple[Candidate, ...]
    similarity: float | None = None
    familiarity: float | None = None
    path: str | None = None
    content_hash: str | None = None
    error: str | None = None
    label_set: tuple[str, ...] | None = None
    disagreement: float | None = None

    @property
    def is_unknown(self) -> bool:
        """True when no label was given: nothing near, or no picture to be had."""
        return self.decision.action == "reject"

    @property
    def why(self) -> str:
        """One plain sentence with the numbers behind the decision."""
        return _explain(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: the verdict first, then the evidence."""
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
            "label_set": None if self.label_set is None else list(self.label_set),
            "candidates": [_candidate_to_dict(candidate) for candidate in self.candidates],
        }

    def to_json(self) -> str:
        """One line of ASCII JSON; file names of any bytes survive the round trip."""
        return json.dumps(self.to_dict())


def _candidate_to_dict(candidate: Candidate) -> dict[str, Any]:
    return {
        "label": candidate.label,
        "score": round(candidate.score, 6),
        "rerank_score": None if candidate.rerank_score is None else round(candidate.rerank_score, 6),
        "neighbors": [
            {
                "path": neighbor.example.path,
                "label": neighbor.example.label,
                "similarity": round(neighbor.similarity, 6),
            }
            for neighbor in candidate.neighbors
        ],
    }


def _explain(result: Classification) -> str:
    if not result.candidates:
        return result.error or "no example to compare with"
    best, *others = sorted(result.candidates, key=lambda candidate: -candidate.score)
    rival = f", next {others[0].label} {others[0].score:.2f}" if others else ""
    vote = f"vote {best.label} {best.score:.2f}{rival}"
    nearest = f"nearest similarity {result.similarity:.2f}"
    familiar = nearest if result.familiarity is None else f"familiarity {result.familiarity:+.1f}, {nearest}"
    match result.decision.reason:
        case "confident":
            return f"{vote}; {familiar}"
        case "ambiguous":
            return f"labels compete: {vote}; best guess, no second look"
        case "novel":
            return f"nothing like it: {familiar}"
        case "forced":
            return f"nothing like it ({familiar}), but the set is closed: {vote}"
        case "reranked":
            return f"labels competed: {vote}; a second look chose {result.label} {result.score:.2f}"
        case "reranker_failed":
            return f"labels compete: {vote}; the second look failed, so the vote stands ({result.error})"
        case _:
            return vote


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What made a vector. Vectors of different fingerprints must never meet.

    `revision` identifies the weights by content where there are any. `dtype` is the number type of
    the computation: it moves a similarity by about 1e-3, so a difference is warned about, not refused.
    """

    backend: str
    model: str
    revision: str
    preprocessing: str
    dim: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.backend}:{self.model}@{self.revision or '-'} ({self.dim}-d, {self.dtype}, {self.preprocessing})"

    @property
    def space_id(self) -> str:
        """A short digest, equal for fingerprints whose vectors may meet."""
        fields = [self.backend, self.revision or self.model, self.preprocessing, str(self.dim)]
        return sha256("\0".join(fields).encode(errors="surrogatepass")).hexdigest()[:16]

    def differences(self, other: Fingerprint) -> list[str]:
        """Names of the fields that make the two vector spaces different ones; empty when they may meet.

        The model's name does not count where both name the same weights by content: a hub name
        and a folder can be one model.
        """
        fields = ["backend", "model", "revision", "preprocessing", "dim"]
        if self.revision and self.revision == other.revision:
            fields.remove("model")
        return [name for name in fields if getattr(self, name) != getattr(other, name)]
