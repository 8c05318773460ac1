"""What a prompt template may hold; checked when the configuration is read, filled by `rerank.prompts`."""

from __future__ import annotations

import re

DEFAULT_PROMPT_TEMPLATE = (
    "Which of these does the picture show?\n{options}\n{image}\nAnswer with the letter of one option."
)
OPTIONS = "{options}"  # required: the lettered list of label names, one a line
IMAGE = "{image}"  # optional: where the picture goes; without it the picture comes first


def check_template(template: str) -> str:
    """Return `template` if it can be filled; raises ValueError that says what is wrong otherwise."""
    for placeholder in (OPTIONS, IMAGE):
        if template.count(placeholder) > 1:
            raise ValueError(f"{placeholder} may stand only once, got {template!r}")
    if OPTIONS not in template:
        raise ValueError(f"the placeholder {OPTIONS} is missing: it becomes the list of labels; got {template!r}")
    rest = template.replace(OPTIONS, "").replace(IMAGE, "")
    if found := re.search(r"\{[^{}]*\}?|\}", rest):
        raise ValueError(f"{found.group()!r} is no placeholder: use {OPTIONS} and {IMAGE}")
    if "<|" in template:
        raise ValueError("'<|' begins a control token, and those are set by the program")
    return template
