"""Names that are never labels or images: what systems and other programs leave in folders."""

from __future__ import annotations

from lmm_classifier.data.image_types import extension

_FOLDERS = frozenset(
    [
        "__macosx",  # archives made on a Mac
        "@eadir", "@tmp", "#recycle", "#snapshot",  # Synology
        "@recycle", "@recently-snapshot",  # QNAP
        "$recycle.bin", "recycler", "system volume information",  # Windows
        "lost+found",  # Linux
        "network trash folder", "temporary items",  # network drives of a Mac
        "__pycache__", "node_modules",
    ]
)  # fmt: skip
_FILES = frozenset(["thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"])
_LEFTOVERS = frozenset(
    ["bak", "old", "orig", "tmp", "temp", "part", "partial", "crdownload", "download", "swp", "lock"]
)


def is_ignored_folder(name: str) -> bool:
    """Return whether a folder of this name is passed over: hidden, or of a system or another program."""
    return name.startswith(".") or name.casefold() in _FOLDERS


def why_ignored_file(name: str) -> str | None:
    """Return why a file of this name is passed over, None where it is not."""
    if name.startswith("."):
        return "hidden"
    if name.casefold() in _FILES:
        return "of the system, not of the dataset"
    if name.endswith("~") or name.startswith("~$") or extension(name) in _LEFTOVERS:
        return "a backup, or not complete"
    return None
