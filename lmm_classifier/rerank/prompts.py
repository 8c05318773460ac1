"""How the multiple-choice question is written; pure text, no model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

from lmm_classifier.prompt_template import IMAGE, OPTIONS

_MAX_NAME = 80  # characters of a label name that are shown; more would only cost attention


def escape_label(label: str) -> str:
    """Give the label as harmless text on one line: no control tokens, no line breaks, bounded in length."""
    text = "".join(character if character.isprintable() else " " for character in label)
    text = re.sub(r"\s+", " ", text).strip().replace("<|", "< |").replace("|>", "| >")
    return text if len(text) <= _MAX_NAME else text[: _MAX_NAME - 1] + "…"


def question(template: str, labels: Sequence[str]) -> tuple[str, str]:
    """Fill `template` with 1 to 26 lettered labels: the text before the picture and the text after it."""
    if not 1 <= len(labels) <= len(ascii_uppercase):
        raise ValueError(f"expected 1 to {len(ascii_uppercase)} options, got {len(labels)}")
    options = "\n".join(f"{letter}. {escape_label(label)}" for letter, label in zip(ascii_uppercase, labels))
    before, image, after = template.partition(IMAGE)
    if not image:
        before, after = "", template
    return before.replace(OPTIONS, options), after.replace(OPTIONS, options)
