"""Which columns of a table hold images, labels, groups and splits: the chosen ones, or those of the usual names."""

from __future__ import annotations

from collections.abc import Sequence

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.readers.source_file import SourceFile

_IMAGES = ("path", "file_name", "filename", "image_path", "image", "file")  # usual names, the first that is there
_LABELS = ("label", "class", "category")
_GROUPS, _SPLITS = ("group",), ("split",)


def column(chosen: str | None, columns: Sequence[str], usual: str, file: SourceFile) -> str | None:
    """Return the name of a column: the chosen one, or the first usual one; None where there is none.

    Raises:
        DatasetError: the chosen one is not there.
    """
    if chosen is not None and chosen not in columns:
        raise DatasetError(f"{file} has no column {chosen!r}. Its columns are {', '.join(map(repr, columns[:20]))}.")
    names = {"image": _IMAGES, "label": _LABELS, "group": _GROUPS, "split": _SPLITS}[usual]
    return chosen if chosen is not None else next((name for name in names if name in columns), None)
