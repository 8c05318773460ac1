"""Prompts for a reranker: text, images and single-token answers. Pure functions: no model, no server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal

from PIL.Image import Image

from lmm_classifier.core.datatypes import RerankRequest
from lmm_classifier.core.labels import visible
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

NONE = -1  # an answer with this position is for none of the candidates
MAX_OPTIONS = len(ascii_uppercase)
NONE_OF_THESE = "none of these"
_MAX_NAME = 80  # characters of a label name that are shown; a longer one only costs tokens


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """How a question is asked; the fields mean the same as in the `rerank` section of the configuration."""

    mode: Mode = "names"
    orders: int = 2
    references: int = 1
    none_option: bool = False
    prompt_template: str = DEFAULT_PROMPT_TEMPLATE
    references_template: str = DEFAULT_REFERENCES_TEMPLATE
    pairwise_template: str = DEFAULT_PAIRWISE_TEMPLATE


@dataclass(frozen=True, slots=True)
class PromptVariant:
    """One prompt of a request: one order of the options, or one comparison with a reference."""

    parts: tuple[Part, ...]
    """Texts and images to send, in order."""
    answers: tuple[str, ...]
    """The answers that count; each is a single token."""
    stands_for: tuple[int, ...]
    """For each answer the position of its candidate, or `NONE`."""


def make_prompts(prompt_options: PromptOptions, request: RerankRequest) -> list[PromptVariant]:
    """Return the prompts of one request: one per order of the options, or one per reference image in mode `pairwise`.

    The options are sorted by name, not by rank, so that the model cannot see what retrieval prefers.

    Raises:
        ValueError: if there are more options than letters, or if a reference is missing that the mode needs.
    """
    if prompt_options.mode == "pairwise":
        return _pairs(prompt_options, request)
    candidates = request.candidates
    positions = sorted(range(len(candidates)), key=lambda position: (candidates[position].label, position))
    is_taken = any(visible(candidate.label) == NONE_OF_THESE for candidate in candidates)
    if prompt_options.none_option and not is_taken:  # two options of one name could not be told apart
        positions.append(NONE)
    if not 1 <= len(positions) <= MAX_OPTIONS:
        raise ValueError(f"expected 1 to {MAX_OPTIONS} options, got {len(positions)}")
    return [_choice(prompt_options, request, order) for order in option_orders(positions, prompt_options.orders)]


def option_orders(positions: Sequence[int], orders: int) -> list[list[int]]:
    """Return the orders in which options are listed: one, two opposite ones, or up to `orders` cyclic ones."""
    forward = list(positions)
    if orders == 1 or len(forward) == 1:
        return [forward]
    if orders == 2 or len(forward) == 2:
        return [forward, forward[::-1]]
    # evenly spaced rotations, so that each option appears once in each part of the list
    count = min(orders, len(forward))
    starts = [round(number * len(forward) / count) for number in range(count)]
    return [forward[start:] + forward[:start] for start in starts]


def escape_label(label: str) -> str:
    """Return the label as harmless text on one line: no control tokens, no line breaks, bounded in length."""
    text = "".join(character if character.isprintable() else " " for character in label)
    text = re.sub(r"\s+", " ", text).strip().replace("<|", "< |").replace("|>", "| >")
    return text if len(text) <= _MAX_NAME else text[: _MAX_NAME - 1] + "…"


def _choice(prompt_options: PromptOptions, request: RerankRequest, order: Sequence[int]) -> PromptVariant:
    with_images = prompt_options.mode == "references"
    options: list[Part] = []
    for letter, position in zip(ascii_uppercase, order):
        name = NONE_OF_THESE if position == NONE else escape_label(request.candidates[position].label)
        images = request.references[position] if with_images and position != NONE and request.references else ()
        options += [f"{letter}. {name}:", *images, "\n"] if images else [f"{letter}. {name}\n"]
    if isinstance(options[-1], str):
        options[-1] = options[-1].removesuffix("\n")
    template = prompt_options.references_template if with_images else prompt_options.prompt_template
    if IMAGE not in template:
        template = IMAGE + template
    parts = _filled(template, {OPTIONS: options, IMAGE: [request.image]})
    return PromptVariant(parts, tuple(ascii_uppercase[: len(order)]), tuple(order))


def _pairs(prompt_options: PromptOptions, request: RerankRequest) -> list[PromptVariant]:
    """Ask whether two images show the same: one prompt per reference; `yes` is an answer for its label."""
    if len(request.references) != len(request.candidates) or not all(request.references):
        raise ValueError("mode pairwise needs at least one reference image for every candidate")
    return [
        PromptVariant(
            _filled(prompt_options.pairwise_template, {IMAGE: [request.image], REFERENCE: [reference]}),
            ("yes", "no"),
            (position, NONE),
        )
        for position, references in enumerate(request.references)
        for reference in references
    ]


def _filled(template: str, contents: dict[str, list[Part]]) -> tuple[Part, ...]:
    """Replace the placeholders of the template by their contents, never inside a content, and join adjacent texts."""
    pieces = re.split("(" + "|".join(map(re.escape, contents)) + ")", template)
    parts: list[Part] = []
    for piece in pieces:
        for part in contents.get(piece, [piece]):
            if isinstance(part, str) and parts and isinstance(parts[-1], str):
                parts[-1] += part
            elif part != "":
                parts.append(part)
    return tuple(parts)
