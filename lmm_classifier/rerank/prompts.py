"""What a reranker asks: ballots of text, pictures and single-token answers. Pure: no model, no server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal

from PIL.Image import Image

from lmm_classifier.core.datatypes import Question
from lmm_classifier.rerank.prompt_template import (
    DEFAULT_PAIRWISE_TEMPLATE,
    DEFAULT_PROMPT_TEMPLATE,
    DEFAULT_REFERENCES_TEMPLATE,
    IMAGE,
    OPTIONS,
    REFERENCE,
)

Mode = Literal["names", "references", "pairwise"]
Part = str | Image

NONE = -1  # what an answer stands for that is for none of the candidates
MOST_OPTIONS = len(ascii_uppercase)
NONE_OF_THESE = "none of these"
_MAX_NAME = 80  # characters of a label name that are shown; more would only cost attention


@dataclass(frozen=True, slots=True)
class Asking:
    """How questions are put; the meanings are those of the `rerank` section of the configuration."""

    mode: Mode = "names"
    orders: int = 2
    references: int = 1
    none_option: bool = False
    prompt_template: str = DEFAULT_PROMPT_TEMPLATE
    references_template: str = DEFAULT_REFERENCES_TEMPLATE
    pairwise_template: str = DEFAULT_PAIRWISE_TEMPLATE


@dataclass(frozen=True, slots=True)
class Ballot:
    """One request: what is sent, in order, and the answers that count.

    Each answer is a single token; `stands_for` says which candidate (by position) it speaks for, or `NONE`.
    """

    parts: tuple[Part, ...]
    answers: tuple[str, ...]
    stands_for: tuple[int, ...]


def write_ballots(asking: Asking, question: Question) -> list[Ballot]:
    """Write the requests of one question: one per order of the options, or per reference picture in pairs.

    The options are listed by name, not by rank, so that their places tell the model nothing about retrieval's opinion.
    Raises ValueError if there are more options than letters, or no reference where the mode lives on them.
    """
    if asking.mode == "pairwise":
        return _pairs(asking, question)
    candidates = question.candidates
    places = sorted(range(len(candidates)), key=lambda place: (candidates[place].label, place))
    if asking.none_option:
        places.append(NONE)
    if not 1 <= len(places) <= MOST_OPTIONS:
        raise ValueError(f"expected 1 to {MOST_OPTIONS} options, got {len(places)}")
    return [_choice(asking, question, order) for order in option_orders(places, asking.orders)]


def option_orders(places: Sequence[int], orders: int) -> list[list[int]]:
    """Return the orders in which options are listed: one, two opposite ones, or up to `orders` cyclic ones."""
    forward = list(places)
    if orders == 1 or len(forward) == 1:
        return [forward]
    if orders == 2 or len(forward) == 2:
        return [forward, forward[::-1]]
    # evenly spaced turns, so that each option stands once in each part of the list
    count = min(orders, len(forward))
    turns = [round(number * len(forward) / count) for number in range(count)]
    return [forward[turn:] + forward[:turn] for turn in turns]


def escape_label(label: str) -> str:
    """Give the label as harmless text on one line: no control tokens, no line breaks, bounded in length."""
    text = "".join(character if character.isprintable() else " " for character in label)
    text = re.sub(r"\s+", " ", text).strip().replace("<|", "< |").replace("|>", "| >")
    return text if len(text) <= _MAX_NAME else text[: _MAX_NAME - 1] + "…"


def _choice(asking: Asking, question: Question, order: Sequence[int]) -> Ballot:
    with_pictures = asking.mode == "references"
    options: list[Part] = []
    for letter, place in zip(ascii_uppercase, order):
        name = NONE_OF_THESE if place == NONE else escape_label(question.candidates[place].label)
        shown = question.references[place] if with_pictures and place != NONE and question.references else ()
        options += [f"{letter}. {name}:", *shown, "\n"] if shown else [f"{letter}. {name}\n"]
    if isinstance(options[-1], str):
        options[-1] = options[-1].removesuffix("\n")
    template = asking.references_template if with_pictures else asking.prompt_template
    if IMAGE not in template:
        template = IMAGE + template
    parts = _filled(template, {OPTIONS: options, IMAGE: [question.image]})
    return Ballot(parts, tuple(ascii_uppercase[: len(order)]), tuple(order))


def _pairs(asking: Asking, question: Question) -> list[Ballot]:
    """Is this the same as that example: one request per reference, the share of `yes` speaks for its label."""
    if len(question.references) != len(question.candidates) or not all(question.references):
        raise ValueError("pairwise questions need at least one reference picture for every candidate")
    return [
        Ballot(
            _filled(asking.pairwise_template, {IMAGE: [question.image], REFERENCE: [reference]}),
            ("yes", "no"),
            (place, NONE),
        )
        for place, references in enumerate(question.references)
        for reference in references
    ]


def _filled(template: str, fillings: dict[str, list[Part]]) -> tuple[Part, ...]:
    """Put the fillings where their placeholders stand in the template (never inside a filling); join the texts."""
    pieces = re.split("(" + "|".join(map(re.escape, fillings)) + ")", template)
    parts: list[Part] = []
    for piece in pieces:
        for part in fillings.get(piece, [piece]):
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            elif part != "":
                parts.append(part)
    return tuple(parts)
