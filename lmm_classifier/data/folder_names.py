"""The name of a label's folder: the label itself where every file system takes it, else escaped, never another's."""

from __future__ import annotations

import os
import re
from hashlib import sha256

from lmm_classifier.data.ignored_names import is_ignored_folder

_MAX_BYTES = 200  # of a name; file systems take 255, and files in the folder need a path too
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|%]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # on Windows


def folder_name(label: str, distinct: bool = False) -> str:
    """Return the name of the folder of a label, different for each label.

    Characters that some file system refuses are written as `%` and two hexadecimal digits; so are a first dot, a last
    dot or space, and the first letter of a name that a system keeps for itself. A long name ends in a digest.

    Args:
        label: text that is not empty.
        distinct: add a digest, for a label whose folder would be that of another label on this file system.
    """
    name = _UNSAFE.sub(_escaped, label)
    if name[0] == "." or _RESERVED.match(name) or is_ignored_folder(name):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if name[-1] in ". ":
        name = f"{name[:-1]}%{ord(name[-1]):02X}"
    if distinct or len(os.fsencode(name)) > _MAX_BYTES:
        digest = sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        name = os.fsencode(name)[: _MAX_BYTES - 18].decode("utf-8", "ignore") + f"%~{digest}"
    return name


def _escaped(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"
