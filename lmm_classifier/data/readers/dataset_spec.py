"""The specification of a dataset: its source, and where labels, groups and splits are found in it.

As text, which an index stores, it is the source and after a last `#` the choices, as in a URL. A source that has a `#`
in its name always gets a second one, so that every text is read back exactly.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, urlencode

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.paths import absolute, expand_home
from lmm_classifier.data.readers.urls import checked_url, is_url

_ANY_TEXT = "surrogateescape"  # names of columns come from a command line
_VOC_FOLDERS = ("Annotations", "JPEGImages")  # of a Pascal VOC dataset
_PAIRS = ("coco", "voc")  # sources of annotations and a place of images: `coco:FILE@IMAGES`


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """Where a dataset is, and what is chosen of it.

    In tables the choices are names of columns, in webdataset shards endings or fields. In folders and archives they are
    levels: `1` is the first folder below the root, `parent` the one that holds the image. `path` is the same as
    `parent` for a label, and the folders above are coarse labels.

    Example:
        >>> from lmm_classifier.data import DatasetSpec
        >>> spec = DatasetSpec("images", label_from="parent")
        >>> DatasetSpec.from_stored(spec.stored()).label_from
        'parent'
    """

    source: str
    """A folder, a file of a known kind, a URL, `coco:FILE@IMAGES`, `voc:FOLDER@IMAGES`, or `hf:NAME`.

    `voc:FOLDER` alone is a folder with `Annotations` and `JPEGImages`.
    """
    label_from: str | None = None
    """Where the label of an image is."""
    image_from: str | None = None
    """The column with the image or its path."""
    group_from: str | None = None
    """Where the group of an image is: images of one object belong together."""
    split_from: str | None = None
    """Where the split of an image is."""
    split: str | None = None
    """The split to use; None: all."""

    @classmethod
    def of(cls, source: DatasetSpec | Path | str) -> DatasetSpec:
        """Return a specification; a path or a URL alone is one without choices."""
        return source if isinstance(source, DatasetSpec) else cls(str(source))

    @classmethod
    def from_stored(cls, text: str) -> Self:
        """Read a specification that `stored` wrote; raise DatasetError for any other text."""
        source, mark, choices = text.rpartition("#")
        if not mark:
            return cls(text)
        try:
            pairs = parse_qsl(choices, keep_blank_values=True, strict_parsing=bool(choices), errors=_ANY_TEXT)
            return cls(source, **dict(pairs))
        except (TypeError, ValueError):
            raise DatasetError(f"{text!r} is not the specification of a dataset.") from None

    def stored(self) -> str:
        """Return the specification as text, with absolute paths and without secrets."""
        source = self.fixed().source
        chosen = {name: value for name, value in self.choices().items() if value is not None}
        return f"{source}#{urlencode(chosen, errors=_ANY_TEXT)}" if chosen or "#" in source else source

    def choices(self) -> dict[str, str | None]:
        """Return all but the source."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "source"}

    @property
    def has_choices(self) -> bool:
        """Return whether anything but the source is given."""
        return any(value is not None for value in self.choices().values())

    @property
    def kind(self) -> str:
        """Return the prefix that tells the kind of source, such as "coco"; empty where its form tells it."""
        prefix, mark, _ = self.source.partition(":")
        return prefix.lower() if mark and prefix.lower() in (*_PAIRS, "hf") else ""

    @property
    def has_boxes(self) -> bool:
        """Return whether its images are boxes in other images."""
        return self.kind in _PAIRS

    def pair(self) -> tuple[str, str]:
        """Return annotations and images of a source such as `coco:FILE@IMAGES`."""
        annotations, mark, images = self.source.partition(":")[2].rpartition("@")
        folder = Path(images)
        if self.kind == "voc" and not mark and all((expand_home(folder) / part).is_dir() for part in _VOC_FOLDERS):
            return str(folder / _VOC_FOLDERS[0]), str(folder / _VOC_FOLDERS[1])
        if not (mark and annotations and images):
            raise DatasetError(f"{self.source} does not name the images. Expected {self.kind}:ANNOTATIONS@IMAGES.")
        return annotations, images

    def fixed(self) -> DatasetSpec:
        """Return the same with `~` expanded and paths absolute, whatever the current folder will be.

        Raises:
            DatasetError: a URL is of a scheme that is not read, or holds a password, a signature or another URL.
        """
        if self.kind in _PAIRS:
            annotations, images = self.pair()
            return replace(self, source=f"{self.kind}:{_fixed(annotations)}@{_fixed(images)}")
        if self.kind == "hf":
            name = self.source.partition(":")[2]
            return replace(self, source=f"hf:{_fixed(name) if os.path.isdir(name) else name}")  # noqa: PTH112
        return replace(self, source=_fixed(self.source))

    def __str__(self) -> str:
        chosen = ", ".join(f"{name} {value}" for name, value in self.choices().items() if value is not None)
        return f"{self.source} ({chosen})" if chosen else self.source


def moved(former: DatasetSpec, source: DatasetSpec | Path | str | None) -> DatasetSpec:
    """Return the specification of a dataset that may be elsewhere now; a place alone keeps the former choices."""
    if isinstance(source, DatasetSpec):
        return source
    return former if source is None else replace(former, source=str(source))


def local_path(text: str) -> Path | None:
    """Return the folder of a stored specification, None where it is no plain local path."""
    spec = DatasetSpec.from_stored(text)
    return None if spec.kind or is_url(spec.source) else Path(spec.source)


def _fixed(source: str) -> str:
    if "\0" in source:
        raise DatasetError(f"{source!r} has a NUL character, which no path has.")
    return checked_url(source) if is_url(source) else str(absolute(expand_home(source)))
