"""What a prompt template may hold; checked when the configuration is read, filled by `rerank.prompts`."""

from __future__ import annotations

import re

OPTIONS = "{options}"  # the lettered list of label names, one a line; with reference pictures where those are wanted
IMAGE = "{image}"  # the picture in question
REFERENCE = "{reference}"  # an example of the label in question

# Whatever repeats comes first, for the sake of prefix caches: here the picture, whose options are asked about in two
# orders; with references the options and their pictures, which many questions share; in pairs the picture again.
DEFAULT_PROMPT_TEMPLATE = (
    "{image}\nWhich of these does the picture show?\n{options}\nAnswer with the letter of one option."
)
DEFAULT_REFERENCES_TEMPLATE = (
    "Which of these does the last picture show?\n{options}\n{image}\nAnswer with the letter of one option."
)
DEFAULT_PAIRWISE_TEMPLATE = "{image}\n{reference}\nDo both pictures show the same kind of thing? Answer yes or no."


def check_template(template: str) -> str:
    """Return `template` if a list of options can be filled in; raises ValueError that says what is wrong otherwise."""
    _check(template, allowed=(OPTIONS, IMAGE), required={OPTIONS: "it becomes the list of labels"})
    return template


def check_references_template(template: str) -> str:
    """Return `template` if options and the picture can be filled in; raises ValueError otherwise."""
    why = {OPTIONS: "it becomes the labels and their pictures", IMAGE: "it is the picture in question"}
    _check(template, allowed=(OPTIONS, IMAGE), required=why)
    return template


def check_pairwise_template(template: str) -> str:
    """Return `template` if two pictures can be filled in; raises ValueError otherwise."""
    why = {IMAGE: "it is the picture in question", REFERENCE: "it is the example"}
    _check(template, allowed=(IMAGE, REFERENCE), required=why)
    return template


def _check(template: str, allowed: tuple[str, ...], required: dict[str, str]) -> None:
    for placeholder in allowed:
        if template.count(placeholder) > 1:
            raise ValueError(f"{placeholder} may stand only once, got {template!r}")
    for placeholder, why in required.items():
        if placeholder not in template:
            raise ValueError(f"the placeholder {placeholder} is missing: {why}; got {template!r}")
    rest = template
    for placeholder in allowed:
        rest = rest.replace(placeholder, "")
    if found := re.search(r"\{[^{}]*\}?|\}", rest):
        raise ValueError(f"{found.group()!r} is no placeholder: use {' and '.join(allowed)}")
    if "<|" in template:
        raise ValueError("'<|' begins a control token, and those are set by the program")
