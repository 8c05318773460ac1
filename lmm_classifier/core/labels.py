"""The rules for labels, in one place: their normal form, which of them are alike, and which name is not free.

A label is text in the Unicode normal form C, whatever form a file system or an editor gives it. Two labels are alike if
a reader can hardly tell them apart: they differ only in case, in spaces or in characters that cannot be seen.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from lmm_classifier.core.errors import DatasetError

_INVISIBLE = ("Cf", "Cc", "Zl", "Zp")  # Unicode categories
_INVISIBLE_MARKS = {"\u034f", *map(chr, range(0xFE00, 0xFE10)), *map(chr, range(0xE0100, 0xE01F0))}


def normal_label(text: str) -> str:
    """Return a label in its normal form, in which labels are stored and compared."""
    return unicodedata.normalize("NFC", text)


def require_label(text: object) -> str:
    """Return the normal form of a label; raise DatasetError for any other object, and where the text is no label."""
    if not isinstance(text, str) or not visible(text) or "\0" in text:
        raise DatasetError(f"{text!r} is no label. A label is text with at least one character that can be seen.")
    return normal_label(text)


def visible(text: str) -> str:
    """Return what a reader sees of a label, without case: equal for labels that are alike."""
    shown = "".join(" " if c.isspace() else c for c in unicodedata.normalize("NFKC", text) if not _is_invisible(c))
    return unicodedata.normalize("NFKC", " ".join(shown.split()).casefold())


def alike(labels: Iterable[str]) -> list[list[str]]:
    """Return the groups of different labels that a reader can hardly tell apart, in order."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in sorted(set(labels)):
        groups[visible(label)].append(label)
    return [group for group in groups.values() if len(group) > 1]


def alike_between(names: Iterable[str], labels: Iterable[str]) -> list[tuple[str, str]]:
    """Return each name that is none of the labels but is like one of them, with that label."""
    known = set(labels)
    by_look = {visible(label): label for label in sorted(known)}
    return [(name, by_look[visible(name)]) for name in sorted(set(names) - known) if visible(name) in by_look]


def alike_warnings(labels: Iterable[str]) -> list[str]:
    """Return a warning for each group of labels that are alike."""
    return [
        f"the labels {', '.join(map(repr, group))} differ only in case, spaces or characters that cannot be seen. "
        "If they are one label, give them one name"
        for group in alike(labels)
    ]


def unknown_clash(labels: Iterable[str], unknown_label: str) -> str | None:
    """Return a message if a label cannot be told from the label of unknown images, None if all can."""
    name = visible(unknown_label)
    same = next((label for label in labels if visible(label) == name), None)
    if same is None:
        return None
    return (
        f"The label {same!r} cannot be told from unknown_label ({unknown_label!r}), which images get that are called "
        "unknown. Rename the label, or set unknown_label to another name, such as 'none of these'."
    )


def _is_invisible(character: str) -> bool:
    if character.isspace():
        return False
    return character in _INVISIBLE_MARKS or unicodedata.category(character) in _INVISIBLE
