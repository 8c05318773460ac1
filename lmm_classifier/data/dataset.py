"""A dataset: labeled images of one source in a stable order, and what was not used of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.labels import alike_warnings
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.places import Place, Root


class ImageFile(Protocol):
    """An image of the dataset with an id."""

    @property
    def path(self) -> str:
        """The id: the path relative to the dataset root, POSIX style."""
        ...


@dataclass(frozen=True, slots=True)
class Dataset:
    """The labeled images of a source, sorted by id; all others are in `skipped`.

    `source` is the specification as an index stores it (`DatasetSpec.stored`). `groups` has a text for each example, or
    is empty where the source names no groups.
    """

    root: Root
    source: str
    examples: tuple[Example, ...]
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundPlaces:
    """The images of a source, labeled or not, in a stable order; all others are in `skipped`."""

    places: tuple[Place, ...]
    skipped: tuple[Skipped, ...]
    ids: tuple[str, ...] = ()  # of each place, below the root of the source
    warnings: tuple[str, ...] = ()


class Files(Sequence[Place]):
    """Places of image files, from their ids under `root`.

    A place is created when it is accessed: it takes more memory than all that a build stores of an image.
    """

    def __init__(self, root: Root, ids: Sequence[ImageFile]) -> None:
        self._root, self._ids = root, ids

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, position: int) -> Place: ...
    @overload
    def __getitem__(self, position: slice) -> Files: ...
    def __getitem__(self, position: int | slice) -> Place | Files:
        if isinstance(position, slice):
            return Files(self._root, self._ids[position])
        return self._root / self._ids[position].path


def label_warnings(counts: Mapping[str, int]) -> Iterator[str]:
    """Yield what a user should know of the labels, from the images of each: thin, hard to tell apart, or only one."""
    for label, count in sorted(counts.items()):
        if count == 1:
            yield f"label {label!r} has a single image: give it at least a few"
    yield from alike_warnings(counts)
    if len(counts) == 1:
        yield "there is only one label: every image that is similar enough will get it"
