"""The rules for labels, in one place: their normal form, which of them are alike, and which name is not free.

A label is text in the Unicode normal form C, whatever form a file system or an editor gives it. Two labels are alike if
a reader can hardly tell them apart: they differ only in case, in spaces or in characters that cannot be seen. They look
the same if not even the case differs.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from lmm_classifier.core.errors import DatasetError

_INVISIBLE = ("Cf", "Cc", "Zl", "Zp")  # Unicode categories
_SELECTORS = {*map(chr, range(0xFE00, 0xFE10)), *map(chr, range(0xE0100, 0xE01F0))}  # of a variant of a character
_BLANKS = {*"\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"}  # letters and marks without any ink
_INVISIBLE_MARKS = _SELECTORS | _BLANKS
_JOINERS = {"\u200c", "\u200d"}  # Persian, Hindi and emoji need them
_FLAG, _TAGS = "\U0001f3f4", {*map(chr, range(0xE0020, 0xE0080))}  # such as of Scotland: a black flag and tags
_KEYCAP, _VIRAMA = "\u20e3", 9  # a character, and a combining class


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


def look(text: str) -> str:
    """Return what a reader sees of a label, with case: equal for labels that look the same."""
    before = ""
    while text != before:  # a joiner may have stood before what was left out
        before = text
        seen = [" " if c.isspace() else c for i, c in enumerate(text) if not _is_invisible(c) or _is_shaping(text, i)]
        text = unicodedata.normalize("NFC", " ".join("".join(seen).split()))
    return text


def hidden_in(text: str) -> str:
    """Return in words what a label holds that a reader cannot see; empty where there is nothing.

    Joiners, selectors and tags are seen where a script or an emoji needs them.
    """
    if text != text.strip():
        return "white space at its beginning or end"
    hidden = [
        c
        for i, c in enumerate(text)
        if (_is_invisible(c) or unicodedata.category(c) in _INVISIBLE) and not (_is_shaping(text, i, selectors=True))
    ]
    if hidden:
        return f"the character U+{ord(hidden[0]):04X}"
    return "several spaces in a row" if any(a.isspace() and b.isspace() for a, b in pairwise(text)) else ""


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


def _is_shaping(text: str, place: int, selectors: bool = False) -> bool:
    """Return whether a character without ink changes how the text around it is drawn."""
    before, own, after = text[place - 1 : place], text[place], text[place + 1 : place + 2]
    if own in _JOINERS and before and after:
        letter = next((c for c in reversed(text[:place]) if unicodedata.category(c) != "Mn"), "")
        is_arabic = bool(letter) and unicodedata.bidirectional(letter) == "AL"
        is_indic = _VIRAMA in (unicodedata.combining(before), unicodedata.combining(after))
        return is_arabic or is_indic or (_is_pictorial(before) and _is_pictorial(after) and after not in _SELECTORS)
    if own in _TAGS:
        return before == _FLAG or before in _TAGS
    return selectors and own in _SELECTORS and bool(before) and (not before.isascii() or after == _KEYCAP)


def _is_pictorial(character: str) -> bool:
    """Return whether a character may be a part of an emoji; new ones may not be assigned yet."""
    return character in _SELECTORS or unicodedata.category(character) in ("So", "Sk", "Sm", "Cn")


def _is_invisible(character: str) -> bool:
    if character.isspace():
        return False
    return character in _INVISIBLE_MARKS or unicodedata.category(character) in _INVISIBLE
