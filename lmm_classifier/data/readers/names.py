"""Names that come from archives, tables and servers, as ids of examples: none leaves its root."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from lmm_classifier.data.ignored_names import is_ignored_folder, why_ignored_file
from lmm_classifier.data.image_types import EXTENSIONS, UNSUPPORTED, extension
from lmm_classifier.data.links import Problem

_OWN = ".added"  # an index keeps images that were added by hand under this name
_DRIVE = re.compile(r"[A-Za-z]:")


def member_id(name: str) -> str | None:
    """Return the id for a name, None where it leaves the root or cannot be a name.

    Backslashes count as separators in this check, because programs of Windows write and read them so.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    path = "/".join(parts)
    if name.startswith("/") or "\0" in path or path.startswith("\\") or _DRIVE.match(path):
        return None
    if ".." in path.replace("\\", "/").split("/"):
        return None
    return path if parts and parts[0] != _OWN else None


def why_no_image(path: str) -> Problem | None:
    """Return why the member of an archive is not an image by its name, by the rules for folders; None where it is."""
    *folders, name = path.split("/")
    if any(map(is_ignored_folder, folders)):
        return "in a folder that is hidden, or of another program", "ignored"
    if reason := why_ignored_file(name):
        return reason, "ignored"
    ending = extension(name)
    if ending in UNSUPPORTED:
        return f"the format {ending} is not decoded: convert the image to PNG or JPEG", "unsupported"
    return None if ending in EXTENSIONS else ("not an image, by its name", "ignored")


def case_warnings(paths: Iterable[str]) -> list[str]:
    """Return a warning where ids differ only in case, since a copy on some disks would hold only one of them."""
    same: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        same[path.casefold()].append(path)
    groups = [group for group in same.values() if len(group) > 1]
    if not groups:
        return []
    return [f"{len(groups)} names differ only in case from others, such as {', '.join(map(ascii, groups[0][:2]))}"]
