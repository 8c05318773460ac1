"""The corpus: which files are labelled pictures, in a stable order, and what was left aside and why."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import CorpusError
from lmm_classifier.core.progress import Skipped

EXTENSIONS = frozenset(
    ["jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif", "heic", "heif"]
)


class Identified(Protocol):
    """Has an id: its path relative to the corpus root, POSIX style."""

    @property
    def path(self) -> str:
        """The id."""
        ...


@dataclass(frozen=True, slots=True)
class Corpus:
    """The labelled pictures under a root, sorted by id; everything else that was found is in `skipped`."""

    root: Path
    examples: tuple[Example, ...]
    skipped: tuple[Skipped, ...]
    warnings: tuple[str, ...]


def scan_corpus(root: Path) -> Corpus:
    """Find the pictures `root/<label>/**`; the label is the first folder under the root, the relative path the id.

    The order does not depend on the file system. Raises CorpusError when there is no labelled picture at all.
    """
    if not root.is_dir():
        problem = "is not a folder" if root.exists() else "does not exist"
        raise CorpusError(
            f"corpus {root} {problem}: expected a folder of labelled pictures, {root}/<label>/picture.jpg"
        )
    found, skipped = _walk(root)
    labels: dict[str, str] = {}  # one text for all pictures of a label
    examples = [Example(path, labels.setdefault(name, name)) for path in found if (name := _label(path))]
    loose = [path for path in found if "/" not in path]
    skipped += [Skipped(path, "lies directly in the corpus folder, so it has no label", "no_label") for path in loose]
    if not examples:
        hint = (
            f"{len(loose)} pictures lie directly in it: move them into one folder per label"
            if loose
            else f"expected {root}/<label>/picture.jpg"
        )
        raise CorpusError(f"corpus {root} holds no labelled picture; {hint}")
    examples.sort(key=lambda example: example.path)
    skipped.sort(key=lambda one: one.path)
    return Corpus(root, tuple(examples), tuple(skipped), tuple(_thin_labels(root, examples)))


class Files(Sequence[Path]):
    """Where the pictures of examples, by their ids under `root`, are to be found.

    Each path is made when it is asked for: one takes more memory than all else that a build keeps of a picture.
    """

    def __init__(self, root: Path, ids: Sequence[Identified]) -> None:
        self._root, self._ids = root, ids

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, place: int) -> Path: ...
    @overload
    def __getitem__(self, place: slice) -> Files: ...
    def __getitem__(self, place: int | slice) -> Path | Files:
        if isinstance(place, slice):
            return Files(self._root, self._ids[place])
        return self._root / self._ids[place].path


def find_pictures(folder: Path) -> list[Path]:
    """Find the picture files in a folder and its folders, by the same rules, in a stable order."""
    return [folder / path for path in sorted(_walk(folder)[0])]


def same_bytes_warnings(examples: Sequence[Example], hashes: Sequence[str]) -> list[str]:
    """Name the pictures that lie under two labels with the same bytes; `hashes` go with `examples`."""
    places: dict[str, list[Example]] = defaultdict(list)
    for example, content_hash in zip(examples, hashes, strict=True):
        places[content_hash].append(example)
    conflicts = [group for group in places.values() if len({example.label for example in group}) > 1]
    return [f"the same picture under two labels: {', '.join(e.path for e in group)}" for group in conflicts]


def _label(path: str) -> str:
    """The first folder of a path, "" where there is none."""
    return path.partition("/")[0] if "/" in path else ""


def _walk(root: Path) -> tuple[list[str], list[Skipped]]:
    """Relative POSIX paths of picture files, and what else there is; linked folders are not entered."""
    pictures: list[str] = []
    skipped: list[Skipped] = []
    inside = os.path.realpath(root) + os.sep
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            skipped.append(
                Skipped(
                    folder.rstrip("/") or ".",
                    f"cannot be opened: {(error.strerror or str(error)).lower()}",
                    "unreadable",
                )
            )
            continue
        for entry in entries:
            path = f"{folder}{entry.name}"
            if entry.name.startswith("."):
                skipped.append(Skipped(path, "hidden", "ignored"))
            elif entry.is_dir(follow_symlinks=False):
                folders.append(f"{path}/")
            elif problem := _not_a_picture(entry, inside):
                skipped.append(Skipped(path, *problem))
            else:
                pictures.append(path)
    return pictures, skipped


def _not_a_picture(entry: os.DirEntry[str], inside: str) -> tuple[str, str] | None:
    """Reason and kind when this entry is no picture file to be read, else None."""
    if entry.is_symlink():
        target = Path(os.path.realpath(entry.path))
        if target.is_dir():
            return "a link to a folder is not followed", "symlink"
        if not target.exists():  # a loop leads nowhere either
            return "a link to nothing", "symlink"
        if not str(target).startswith(inside):
            return "a link that leads out of the corpus folder", "outside"
    if entry.name.rpartition(".")[2].lower() not in EXTENSIONS or "." not in entry.name:
        return "no picture file by its name", "ignored"
    if not entry.is_file():
        return "not a regular file", "unreadable"
    return None


def _thin_labels(root: Path, examples: Sequence[Example]) -> Iterator[str]:
    counts = Counter(example.label for example in examples)
    folders = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    for label in folders:
        if label not in counts:
            yield f"label {label!r} is empty: no picture file in its folder"
    for label, count in sorted(counts.items()):
        if count == 1:
            yield f"label {label!r} has a single picture: give it at least a few"
    if len(counts) == 1:
        yield "there is only one label: every picture that is near enough will get it"
