"""What a person reads of a result: words of confidence where they are earned, choices, and the neighbors."""

from __future__ import annotations

from dataclasses import dataclass

from lmm_classifier.core.datatypes import Candidate, Classification
from lmm_classifier.server.results import ExampleIds

_WORDS = ((0.97, "Almost certainly"), (0.8, "Probably"), (0.5, "Perhaps"), (0.0, "A guess:"))
_CHOICES = 4  # labels that have a button
_NEIGHBORS = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """A label that a button gives."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Near:
    """A neighbor; `id` is None where the example was removed meanwhile."""

    id: str | None
    label: str
    similarity: float


@dataclass(frozen=True, slots=True)
class ResultCard:
    """A result as the pages show it."""

    id: str
    words: str  # before the label, such as `Probably`
    label: str  # "" where the image is unknown or cannot be read
    basis: str  # how far the words can be trusted
    place: str  # where the label stands in the hierarchy; "" where it stands at the root
    why: str
    choices: tuple[Choice, ...]
    neighbors: tuple[Near, ...]
    taught: str | None  # the label of the example with the same content, None where there is none
    error: str


def result_card(content_hash: str, result: Classification, ids: ExampleIds, is_calibrated: bool) -> ResultCard:
    """Return the card of a result.

    Args:
        content_hash: of the image.
        result: what the index answers.
        ids: of the version of the index that is open.
        is_calibrated: whether a calibration is stored, so that the score is a measured probability.
    """
    taught = next((example.label for example in ids.examples(ids.rows_of(content_hash)[:1])), None)
    choices = tuple(Choice(candidate.label, candidate.score) for candidate in result.candidates[:_CHOICES])
    unreadable = result.decision.reason == "unreadable"
    label = "" if result.is_unknown or unreadable else result.label
    return ResultCard(
        content_hash,
        _words(result, is_calibrated) if label else _unknown_words(result, ids, unreadable),
        label,
        _basis(result.score, is_calibrated) if label else "",
        _place(result),
        result.why,
        choices,
        _neighbors(result.candidates, ids),
        taught,
        (result.error or "") if unreadable else "",
    )


def confidence_words(score: float) -> str:
    """Return the words for a calibrated probability."""
    return next(words for least, words in _WORDS if score >= least)


def _words(result: Classification, is_calibrated: bool) -> str:
    return confidence_words(result.score) if is_calibrated else "It looks like"


def _unknown_words(result: Classification, ids: ExampleIds, unreadable: bool) -> str:
    if unreadable:
        return "This image cannot be read"
    if ids.rows_of(result.content_hash or ""):
        return "Unknown"
    return "Nothing like it in this dataset" if result.decision.reason == "novel" else "No label is sure enough"


def _basis(score: float, is_calibrated: bool) -> str:
    if not is_calibrated:
        return "The index is not calibrated, so nobody knows how often such answers are right."
    right = int(100 * score)
    return "Nearly all such answers are right." if right > 98 else f"About {right} of 100 such answers are right."


def _place(result: Classification) -> str:
    way = " / ".join((result.label_path or ())[:-1])
    if result.level:
        return f"No label is sure enough, so this is a coarse one{f' in {way}' if way else ''}."
    return f"In {way}." if way else ""


def _neighbors(candidates: tuple[Candidate, ...], ids: ExampleIds) -> tuple[Near, ...]:
    found = {neighbor.example.path: neighbor for candidate in candidates for neighbor in candidate.neighbors}
    nearest = sorted(found.values(), key=lambda neighbor: -neighbor.similarity)[:_NEIGHBORS]
    return tuple(Near(ids.hash_of(near.example.path), near.example.label, near.similarity) for near in nearest)
