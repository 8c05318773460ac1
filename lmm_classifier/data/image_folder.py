"""Scan a folder of labeled images: the examples in a stable order, and the other files with the reason."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.own_files import own_kind
from lmm_classifier.core.progress import Skipped

EXTENSIONS = frozenset(
    ["jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif", "heic", "heif"]
)

_OWN = {"index": "an index of this program, not images", "output": "images that this program wrote"}


class ImageFile(Protocol):
    """A file of the dataset with an id."""

    @property
    def path(self) -> str:
        """The id: the path relative to the dataset root, POSIX style."""
        ...


@dataclass(frozen=True, slots=True)
class LabeledFolder:
    """The labeled images under a root, sorted by id; all other files are in `skipped`."""

    root: Path
    examples: tuple[Example, ...]
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]


def scan_image_folder(root: Path) -> LabeledFolder:
    """Find the images `root/<label>/**` in an order that does not depend on the file system.

    The first folder under the root is the label of an image, its relative path is its id.

    Raises:
        DatasetError: the root is not a folder, or it holds no labeled image.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"dataset {root} {problem}: expected a folder of labeled images, {root}/<label>/image.jpg")
    paths, skipped = _walk(root)
    labels: dict[str, str] = {}  # all images of a label share one string
    examples = [Example(path, labels.setdefault(name, name)) for path in paths if (name := _label(path))]
    loose = [path for path in paths if "/" not in path]
    skipped += [Skipped(path, "is directly in the dataset folder, so it has no label", "no_label") for path in loose]
    if not examples:
        if any(file.path == "." and file.kind == "own_files" for file in skipped):
            raise DatasetError(f"{root} is an index of this program. Give the folder of the images.")
        hint = (
            f"{len(loose)} images are directly in it: move them into one folder per label"
            if loose
            else f"expected {root}/<label>/image.jpg"
        )
        raise DatasetError(f"dataset {root} holds no labeled image; {hint}")
    examples.sort(key=lambda example: example.path)
    skipped.sort(key=lambda file: file.path)
    return LabeledFolder(root, tuple(examples), tuple(skipped), tuple(_thin_labels(root, examples, skipped)))


class Files(Sequence[Path]):
    """Paths of image files, from their ids under `root`.

    A path is created when it is accessed: it takes more memory than all that a build stores of an image.
    """

    def __init__(self, root: Path, ids: Sequence[ImageFile]) -> None:
        self._root, self._ids = root, ids

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, position: int) -> Path: ...
    @overload
    def __getitem__(self, position: slice) -> Files: ...
    def __getitem__(self, position: int | slice) -> Path | Files:
        if isinstance(position, slice):
            return Files(self._root, self._ids[position])
        return self._root / self._ids[position].path


def find_images(folder: Path) -> list[Path]:
    """Return the image files in a folder and its subfolders, by the rules of `scan_image_folder`, in a stable order."""
    return [folder / path for path in sorted(_walk(folder)[0])]


def duplicate_warnings(examples: Sequence[Example], hashes: Sequence[str]) -> list[str]:
    """Return a warning for each image that is under several labels with the same bytes; `hashes` go with `examples`."""
    copies: dict[str, list[Example]] = defaultdict(list)
    for example, content_hash in zip(examples, hashes, strict=True):
        copies[content_hash].append(example)
    conflicts = [group for group in copies.values() if len({example.label for example in group}) > 1]
    return [f"the same image under two labels: {', '.join(e.path for e in group)}" for group in conflicts]


def _label(path: str) -> str:
    """Return the first folder of a path, "" where there is none."""
    return path.partition("/")[0] if "/" in path else ""


def _walk(root: Path) -> tuple[list[str], list[Skipped]]:
    """Return the relative POSIX paths of image files, and all other files; linked folders are not followed."""
    images: list[str] = []
    skipped: list[Skipped] = []
    inside = os.path.realpath(root) + os.sep
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            reason = f"cannot be opened: {(error.strerror or str(error)).lower()}"
            skipped.append(Skipped(folder.rstrip("/") or ".", reason, "unreadable"))
            continue
        own = own_kind([entry.name for entry in entries])
        if own == "index" or (own and folder):  # written images may be a dataset, if they are named as one
            skipped.append(Skipped(folder.rstrip("/") or ".", _OWN[own], "own_files"))
            continue
        for entry in entries:
            path = f"{folder}{entry.name}"
            if entry.name.startswith("."):
                skipped.append(Skipped(path, "hidden", "ignored"))
            elif entry.is_dir(follow_symlinks=False):
                folders.append(f"{path}/")
            elif problem := _why_no_image(entry, inside):
                skipped.append(Skipped(path, *problem))
            else:
                images.append(path)
    return images, skipped


def _why_no_image(entry: os.DirEntry[str], inside: str) -> tuple[str, str] | None:
    """Return the reason and its kind where this entry is not an image file to read, else None."""
    if entry.is_symlink():
        target = Path(os.path.realpath(entry.path))
        if target.is_dir():
            return "a link to a folder is not followed", "symlink"
        if not target.exists():  # a loop of links has no target either
            return "a link without a target", "symlink"
        if not str(target).startswith(inside):
            return "a link to a file outside the dataset folder", "outside"
    if entry.name.rpartition(".")[2].lower() not in EXTENSIONS or "." not in entry.name:
        return "its name is not that of an image file", "ignored"
    if not entry.is_file():
        return "not a regular file", "unreadable"
    return None


def _thin_labels(root: Path, examples: Sequence[Example], skipped: Sequence[Skipped]) -> Iterator[str]:
    counts = Counter(example.label for example in examples)
    own = {file.path for file in skipped if file.kind == "own_files"}
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    for label in folders:
        if label not in counts and label not in own:
            yield f"label {label!r} is empty: no image file in its folder"
    for label, count in sorted(counts.items()):
        if count == 1:
            yield f"label {label!r} has a single image: give it at least a few"
    if len(counts) == 1:
        yield "there is only one label: every image that is similar enough will get it"
