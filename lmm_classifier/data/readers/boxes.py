"""Boxes of objects as rows of a listing: each box is an example, and boxes in other units are told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PureWindowsPath

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.places import Root, exists
from lmm_classifier.data.readers.crops import Box, CropRoot, crop_id
from lmm_classifier.data.readers.listing import Listing, Row, Value
from lmm_classifier.data.readers.names import member_id
from lmm_classifier.data.readers.remote import RemoteFolder

_FAR = 100_000_000  # pixels; no image is larger
_MANY = 0.2  # fraction of boxes that do not fit by more than a pixel; rounding does not explain so many


@dataclass(frozen=True, slots=True)
class Annotation:
    """A box as its file has it; `numbers` are left, top, width and height, others where it has none."""

    name: str
    file: str
    numbers: Sequence[float]
    label: Value = None
    group: Value = None
    split: Value = None


@dataclass
class Boxes:
    """The boxes of a source, one after the other; `listing` has them as rows.

    Args:
        images: where the images are.
        labels: where the labels are, in words.
    """

    images: Root
    labels: str
    listing: Listing = field(init=False)
    _sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    _files: dict[str, None] = field(default_factory=dict)  # ids of images that have boxes
    _count: int = 0
    _tiny: int = 0
    _with_size: int = 0
    _beyond: int = 0

    def __post_init__(self) -> None:
        self.listing = Listing(CropRoot(self.images, self._sizes), labels=self.labels)

    def set_size(self, file: object, width: object, height: object) -> None:
        """Note what the source says of the size of an image; what is no size is passed over."""
        path = member_id(file) if isinstance(file, str) else None
        sides = [int(side) for side in (width, height) if isinstance(side, int | float) and 1 <= side < _FAR]
        if path is not None and len(sides) == 2:
            self._sizes[path] = sides[0], sides[1]

    def skip(self, name: str, reason: str, kind: str) -> None:
        """Note what cannot be used."""
        self.listing.rows.append(Row(name, problem=(reason, kind)))

    def add(self, annotation: Annotation) -> None:
        """Add a box; one that cannot be used is noted with the reason."""
        path, numbers = member_id(annotation.file), annotation.numbers
        if path is None:
            self.skip(annotation.file, _why_outside(annotation.file), "outside")
        elif len(numbers) != 4 or not all(map(_is_near, numbers)) or min(numbers[2:]) <= 0:
            self.skip(path, f"{annotation.name} has no box with a width and a height", "no_box")
        else:
            self._files[path] = None
            self._judge(numbers, self._sizes.get(path))
            place = crop_id(path, Box.around(*numbers))
            row = Row(place, annotation.label, annotation.group, annotation.split, name=annotation.name)
            self.listing.rows.append(row)

    def _judge(self, numbers: Sequence[float], size: tuple[int, int] | None) -> None:
        left, top, width, height = numbers
        self._count += 1
        self._tiny += width <= 1 and height <= 1
        if size is not None:
            self._with_size += 1
            self._beyond += left + width > size[0] + 1 or top + height > size[1] + 1

    def finished(self, source: str) -> Listing:
        """Return the listing, with warnings of boxes that seem to be in other units.

        Args:
            source: the name of the source, for messages.

        Raises:
            DatasetError: none of the images is there.
        """
        is_near = not isinstance(self.images, RemoteFolder)  # a server would be asked for each of them
        if self._files and is_near and not any(exists(self.images / path) for path in self._files):
            first = next(iter(self._files))
            raise DatasetError(
                f"{self.images} holds none of the {len(self._files)} images that {source} names, such as {first}. "
                "Expected the place that these paths begin at."
            )
        if self._tiny > self._count / 2:
            self._warn(f"{self._tiny} of {self._count} boxes are at most one pixel: are they fractions?")
        if self._beyond > _MANY * self._with_size:
            found = f"{self._beyond} of {self._with_size} boxes reach beyond their image"
            self._warn(f"{found}: are they x1, y1, x2, y2?")
        return self.listing

    def _warn(self, found: str) -> None:
        self.listing.warnings.append(f"{found} Expected left, top, width and height in pixels")


def _is_near(number: float) -> bool:
    return math.isfinite(number) and abs(number) < _FAR


def _why_outside(file: str) -> str:
    if PureWindowsPath(file).drive or file.startswith(("/", "\\")):
        return "its path is absolute; make it relative to the folder of the images"
    return "its path leaves the folder of the images"


def require_fields(source: str, choice: str | None, option: str, fields: Sequence[str]) -> None:
    """Raise DatasetError where a choice is none of the fields that there are."""
    if choice is not None and choice not in fields:
        raise DatasetError(f"{source} has no field {choice!r} for {option}. Expected {', '.join(fields) or 'none'}.")
