"""List the labeled images of a dataset as a stream, with the status of each file; memory stays flat.

Folders, buckets and shards are listed part by part. A single archive or table is listed as a whole.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import DatasetError, LmmClassifierError
from lmm_classifier.core.labels import alike_warnings, unknown_clash
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.dataset import label_warnings
from lmm_classifier.data.image_folder import ImageFolderWalk, no_labeled_image
from lmm_classifier.data.places import Root
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.known_status import with_known_status
from lmm_classifier.data.readers.labeled_rows import labeled_examples, no_labeled_row
from lmm_classifier.data.readers.listing import Listing
from lmm_classifier.data.readers.opening import list_in_parts, open_dataset
from lmm_classifier.data.readers.urls import is_url

_KEPT = 10_000  # skipped files that are kept one by one


class ListedFile(NamedTuple):
    """An image of the dataset: its id, its label, and what identifies its bytes before they are read.

    `size` is -1 where it cannot be told; reading the file gives the reason. The times are 0 where none is known.
    """

    path: str
    label: str
    size: int  # bytes
    modified: int  # nanoseconds
    changed: int  # nanoseconds, or another number that changes with the content, such as that of an ETag


@dataclass
class SkippedFiles:
    """Files that are not used: how many of each kind, and the first of them one by one."""

    counts: Counter[str] = field(default_factory=Counter)
    first: list[Skipped] = field(default_factory=list)
    failed: int = 0  # those that should be images

    def add(self, file: Skipped) -> None:
        """Count a file. Files that should be images are kept before others."""
        self.counts[file.kind] += 1
        self.failed += file.failed
        if len(self.first) < _KEPT:
            self.first.append(file)
        elif file.failed and (place := self._place_of_other()) is not None:
            self.first[place] = file

    def _place_of_other(self) -> int | None:
        return next((place for place in reversed(range(len(self.first))) if not self.first[place].failed), None)

    @property
    def total(self) -> int:
        """Return how many files were skipped."""
        return self.counts.total()


@dataclass
class DatasetListing:
    """A dataset to be listed once. `counts`, `skipped` and `warnings()` are complete when `files()` has ended.

    Example:
        >>> from lmm_classifier import PipelineConfig
        >>> from lmm_classifier.data import DatasetSpec
        >>> from lmm_classifier.distributed.listing import DatasetListing
        >>> listing = DatasetListing(DatasetSpec("images"), PipelineConfig.offline().images)
        >>> files = list(listing.files())
        >>> len(files) == listing.counts.total(), files[0].label
        (True, 'gingham')
    """

    spec: DatasetSpec
    images: ImagesConfig
    unknown_label: str = "unknown"
    counts: Counter[str] = field(default_factory=Counter)  # images of each label
    skipped: SkippedFiles = field(default_factory=SkippedFiles)
    has_times: bool = True  # whether every file has a time, so that a change is noticed
    _warnings: list[str] = field(default_factory=list)
    _walk: ImageFolderWalk | None = None

    def __post_init__(self) -> None:
        self.spec = self.spec.fixed()

    @property
    def source(self) -> str:
        """Return the specification of the dataset as a table stores it."""
        return self.spec.stored()

    def files(self) -> Iterator[ListedFile]:
        """Yield the images, those of a part of the dataset in the order of their ids.

        Raises:
            DatasetError: the source cannot be read, holds no labeled image, or has a label that stands for unknown
                images.
        """
        for root, found in self._examples():
            if isinstance(found, Skipped):
                self.skipped.add(found)
                continue
            if found.label not in self.counts and (clash := unknown_clash([found.label], self.unknown_label)):
                raise DatasetError(f"dataset {self.spec.source}: {clash}")
            self.counts[found.label] += 1
            file = _with_status(root, found)
            self.has_times = self.has_times and (file.size < 0 or max(file.modified, file.changed) > 0)
            yield file
        if not self.counts:
            raise self._nothing()

    def warnings(self) -> list[str]:
        """Return what a user should know of the labels and the names, when all files are listed."""
        if self._walk is not None:
            return self._walk.warnings(self.counts)
        if not self._warnings:
            self._warnings = list(label_warnings(self.counts))
        more = [] if self.has_times else ["the source tells no times: an image that changed keeps its former vector"]
        return list(dict.fromkeys([*self._warnings, *alike_warnings(self.counts), *more]))

    def _examples(self) -> Iterator[tuple[Root, Example | Skipped]]:
        if (
            not (self.spec.kind or self.spec.has_choices or is_url(self.spec.source))
            and Path(self.spec.source).is_dir()
        ):
            self._walk = ImageFolderWalk(Path(self.spec.source), self.images.follow_links)
            yield from ((self._walk.root, found) for found in self._walk.labeled())
        elif (parts := list_in_parts(self.spec)) is not None:
            yield from self._of_parts(parts)
        else:
            dataset = open_dataset(self.spec, self.images)
            self._warnings = list(dataset.warnings)
            root = with_known_status(dataset.root)
            yield from ((root, example) for example in dataset.examples)
            yield from ((root, file) for file in dataset.skipped)

    def _of_parts(self, parts: Iterable[Listing]) -> Iterator[tuple[Root, Example | Skipped]]:
        for part in parts:
            examples, skipped = labeled_examples(part, self.spec)
            yield from ((part.root, example) for example, _ in examples)
            yield from ((part.root, file) for file in skipped)

    def _nothing(self) -> DatasetError:
        if self._walk is not None:
            return no_labeled_image(self._walk.root, self.skipped.first)
        if self.spec.split is not None:
            return DatasetError(f"{self.spec.source} has no labeled image of the split {self.spec.split!r}.")
        return no_labeled_row(self.spec, self.skipped.first, has_rows=False)


def _with_status(root: Root, example: Example) -> ListedFile:
    try:
        # a Path costs more than all that is stored of a file
        path = os.path.join(root, example.path) if isinstance(root, Path) else ""  # noqa: PTH118
        status = os.stat(path) if path else (root / example.path).stat()  # noqa: PTH116
    except (OSError, ValueError, LmmClassifierError):
        return ListedFile(example.path, example.label, -1, 0, 0)
    return ListedFile(example.path, example.label, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
