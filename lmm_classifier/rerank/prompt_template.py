"""Prompt templates and their placeholders: checked when the configuration is read, filled in by `rerank.prompts`."""

from __future__ import annotations

import re

OPTIONS = "{options}"  # the lettered list of label names, one per line; with reference images in mode `references`
IMAGE = "{image}"  # the image in question
REFERENCE = "{reference}"  # an example of the label in question

# The repeated part comes first, so that a prefix can be cached. In modes `names` and `pairwise` it is the image, which
# all prompts of a request share. In mode `references` it is the options with their images, which many requests share.
DEFAULT_PROMPT_TEMPLATE = (
    "{image}\nWhich of these does the image show?\n{options}\nAnswer with the letter of one option."
)
DEFAULT_REFERENCES_TEMPLATE = (
    "Which of these does the last image show?\n{options}\n{image}\nAnswer with the letter of one option."
)
DEFAULT_PAIRWISE_TEMPLATE = "{image}\n{reference}\nDo both images show the same kind of thing? Answer yes or no."


def check_template(template: str) -> str:
    """Return `template` if a list of options can be filled in; raises ValueError with the reason otherwise."""
    _check(template, allowed=(OPTIONS, IMAGE), required={OPTIONS: "it becomes the list of labels"})
    return template


def check_references_template(template: str) -> str:
    """Return `template` if options and the image can be filled in; raises ValueError otherwise."""
    why = {OPTIONS: "it becomes the labels and their images", IMAGE: "it is the image in question"}
    _check(template, allowed=(OPTIONS, IMAGE), required=why)
    return template


def check_pairwise_template(template: str) -> str:
    """Return `template` if two images can be filled in; raises ValueError otherwise."""
    why = {IMAGE: "it is the image in question", REFERENCE: "it is the example"}
    _check(template, allowed=(IMAGE, REFERENCE), required=why)
    return template


def _check(template: str, allowed: tuple[str, ...], required: dict[str, str]) -> None:
    for placeholder in allowed:
        if template.count(placeholder) > 1:
            raise ValueError(f"the placeholder {placeholder} may be used only once, got {template!r}")
    for placeholder, why in required.items():
        if placeholder not in template:
            raise ValueError(f"the placeholder {placeholder} is missing: {why}; got {template!r}")
    rest = template
    for placeholder in allowed:
        rest = rest.replace(placeholder, "")
    if match := re.search(r"\{[^{}]*\}?|\}", rest):
        raise ValueError(f"{match.group()!r} is not a placeholder: use {' and '.join(allowed)}")
    if "<|" in template:
        raise ValueError("a template must not contain '<|', which begins a control token")
