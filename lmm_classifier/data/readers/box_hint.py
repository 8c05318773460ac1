"""Say how boxes are named, where files of boxes are given as if they were images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_COCO = ("annotations/*.json", "instances*.json", "_annotations.coco.json")  # by COCO itself, and by exporters
_VOC = "Annotations/*.xml"


def box_hint(path: Path) -> str:
    """Return the source that names the boxes of a file or a folder, as a sentence; empty where none seem to be there.

    Files are told by their names alone.
    """
    with suppress(OSError):
        if source := next(_sources(path), None):
            return f"For boxes: {source}."
    return ""


def _sources(path: Path) -> Iterator[str]:
    if path.is_file():
        if path.suffix.lower() == ".json":
            yield f"coco:{path}@IMAGES"
        if path.suffix.lower() == ".xml":
            yield f"voc:{path.parent}@IMAGES"
        return
    yield from (f"coco:{min(found)}@IMAGES" for pattern in _COCO if (found := list(path.glob(pattern))))
    if any(path.glob(_VOC)):
        yield f"voc:{path / 'Annotations'}@IMAGES"
