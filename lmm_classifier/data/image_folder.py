"""Scan a folder of labeled images: the examples in a stable order, and the other files with the reason."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lmm_classifier.core.datatypes import Example
from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.labels import alike_between, normal_label, visible
from lmm_classifier.core.own_files import own_kind
from lmm_classifier.core.progress import Skipped, describe_skipped
from lmm_classifier.data.dataset import Dataset, label_warnings
from lmm_classifier.data.ignored_names import is_ignored_folder, why_ignored_file
from lmm_classifier.data.image_types import EXTENSIONS, UNSUPPORTED, extension, has_image_content
from lmm_classifier.data.links import LinkRule, Problem
from lmm_classifier.data.readers.box_hint import box_hint
from lmm_classifier.data.readers.dataset_spec import DatasetSpec

_OWN = {"index": "an index of this program, not images", "output": "images that this program wrote"}


@dataclass(frozen=True, slots=True)
class FoundImages:
    """The image files in a folder, in a stable order; all other files are in `skipped`, relative to the folder."""

    paths: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


def scan_image_folder(root: Path, follow_links: Sequence[Path] = ()) -> Dataset:
    """Find the images `root/<label>/**` in an order that does not depend on the file system.

    The first folder under the root, in its normal form, is the label of an image. Its relative path is its id.

    Args:
        root: the dataset folder.
        follow_links: folders outside the root into which links may lead.

    Raises:
        DatasetError: the root is not a folder, or it holds no labeled image.
    """
    _require_folder(root, f"dataset {root}", f"expected a folder of labeled images, {root}/<label>/image.jpg")
    walk = ImageFolderWalk(root, follow_links)
    examples, skipped = list[Example](), list[Skipped]()
    for found in walk.labeled():
        if isinstance(found, Example):
            examples.append(found)
        else:
            skipped.append(found)
    if not examples:
        raise no_labeled_image(root, skipped)
    examples.sort(key=lambda example: example.path)
    skipped.sort(key=lambda file: file.path)
    source = DatasetSpec(str(root)).stored()
    warnings = walk.warnings(Counter(example.label for example in examples))
    return Dataset(root, source, tuple(examples), tuple(skipped), tuple(warnings))


def no_labeled_image(root: Path, skipped: Sequence[Skipped]) -> DatasetError:
    """Return the error for a dataset folder without a labeled image."""
    if any(file.path == "." and file.kind == "own_files" for file in skipped):
        return DatasetError(f"{root} is an index of this program. Give the folder of the images.")
    what, expected = f"dataset {root} holds no labeled image", f"expected {root}/<label>/image.jpg"
    hint = box_hint(root)
    return DatasetError(nothing_found(what, skipped, expected) + (f". {hint}" if hint else ""))


def find_images(folder: Path, follow_links: Sequence[Path] = ()) -> FoundImages:
    """Find the image files in a folder and its subfolders, by the rules of `scan_image_folder`.

    Raises:
        DatasetError: it is not a folder.
    """
    _require_folder(folder, str(folder), "expected a folder of images")
    images, skipped = list[str](), list[Skipped]()
    for found in ImageFolderWalk(folder, follow_links).found():
        if isinstance(found, str):
            images.append(found)
        else:
            skipped.append(found)
    skipped.sort(key=lambda file: file.path)
    return FoundImages(tuple(folder / path for path in sorted(images)), tuple(skipped))


def _require_folder(path: Path, what: str, expected: str) -> None:
    if not path.is_dir():
        hint = box_hint(path)
        state = "is not a folder" if path.exists() else "does not exist"
        raise DatasetError(f"{what} {state}: {expected}" + (f". {hint}" if hint else ""))


def nothing_found(what: str, skipped: Sequence[Skipped], expected: str) -> str:
    """Return the message for a folder without a usable image: what was there instead, and what to do."""
    links = [file for file in skipped if file.kind in ("symlink", "outside")]
    loose = [file for file in skipped if file.kind == "no_label"]
    if len(links) > len(loose):
        hint = f"{len(links)} links are not followed, such as {links[0].path}, {links[0].reason}"
    elif loose:
        hint = f"{len(loose)} images are directly in it: move them into one folder per label"
    else:
        first = next((f", such as {file.path}: {file.reason}" for file in skipped), "")
        hint = f"{len(skipped)} files were skipped{first}; {expected}" if skipped else expected
    return f"{what}: {hint}"


def skipped_notes(source: str, skipped: Sequence[Skipped]) -> list[str]:
    """Return a line that counts the files which should be images but were skipped, with the first; none if none."""
    failed = [file for file in skipped if file.failed]
    if not failed:
        return []
    return [f"{source}: {describe_skipped(failed)}, such as {failed[0].path}: {failed[0].reason}"]


def near_label_notes(folder: Path | str, examples: Sequence[Example], labels: Iterable[str]) -> list[str]:
    """Return a line for each label of the folder that is none of `labels`, but can hardly be told from one."""
    near = alike_between({example.label for example in examples}, labels)
    return [
        f"{folder}: {name!r} is not a label of the index. It has {label!r}; is that the same?" for name, label in near
    ]


def duplicate_warnings(examples: Sequence[Example], hashes: Sequence[str]) -> list[str]:
    """Return a warning for each image that is under several labels with the same bytes; `hashes` go with `examples`."""
    copies: dict[str, list[Example]] = defaultdict(list)
    for example, content_hash in zip(examples, hashes, strict=True):
        copies[content_hash].append(example)
    conflicts = [group for group in copies.values() if len({example.label for example in group}) > 1]
    return [f"the same image under two labels: {', '.join(e.path for e in group)}" for group in conflicts]


@dataclass
class ImageFolderWalk:
    """All files under a folder, one after the other; memory grows with the folders and the largest one.

    The order is that of the relative paths, but what links to folders lead to comes last, so that the result has no
    chance in it. `folders` has those directly under the root that were read.
    """

    root: Path
    follow_links: Sequence[Path] = ()
    folders: list[str] = field(default_factory=list)

    def labeled(self) -> Iterator[Example | Skipped]:
        """Yield the examples, and the other files with the reason."""
        labels: dict[str, str] = {}  # folder -> label; all images of a label share one string
        for found in self.found():
            if isinstance(found, Skipped):
                yield found
                continue
            folder, has_folder, _ = found.partition("/")
            if not has_folder:
                yield Skipped(found, "is directly in the dataset folder, so it has no label", "no_label")
            elif not visible(folder):
                yield Skipped(found, "the name of its folder has no character that can be seen", "no_label")
            else:
                yield Example(found, labels.setdefault(folder, normal_label(folder)))

    def found(self) -> Iterator[str | Skipped]:
        """Yield the relative POSIX paths of image files, and the other files with the reason."""
        links, linked = LinkRule(self.root, self.follow_links), [""]
        while linked:
            waiting = [iter([(linked.pop(0), True)])]  # files and folders still to come, of each level
            while waiting:
                path, is_folder = next(waiting[-1], (None, False))
                if path is None:
                    waiting.pop()
                elif not is_folder:
                    yield path
                else:
                    entries = list[tuple[str, bool]]()
                    for found in self._entries(path, links):
                        if isinstance(found, Skipped):
                            yield found
                        elif found[1] == "link":
                            linked = sorted([*linked, found[0]])
                        else:
                            entries.append((found[0], found[1] == "folder"))
                    waiting.append(iter(sorted(entries)))

    def _entries(self, folder: str, links: LinkRule) -> Iterator[tuple[str, str] | Skipped]:
        """Yield what is in a folder: files, folders and links to folders, and what is not used."""
        try:
            former = links.enter(os.path.join(self.root, folder), folder)  # noqa: PTH118 - a Path costs memory
            if former is not None:
                reason = f"a link to a folder that is read already, as {former.rstrip('/') or '.'}"
                yield Skipped(folder.rstrip("/"), reason, "symlink")
                return
            entries = list(os.scandir(self.root / folder))
        except OSError as error:
            reason = f"cannot be opened: {(error.strerror or str(error)).lower()}"
            yield Skipped(folder.rstrip("/") or ".", reason, "unreadable")
            return
        own = own_kind([entry.name for entry in entries])
        if own == "index" or (own and folder):  # written images may be a dataset, if they are named as one
            yield Skipped(folder.rstrip("/") or ".", _OWN[own], "own_files")
            return
        if folder.count("/") == 1:
            self.folders.append(folder[:-1])
        for entry in entries:
            path, is_link = f"{folder}{entry.name}", entry.is_symlink()
            is_folder = os.path.isdir(entry.path) if is_link else entry.is_dir()  # noqa: PTH112 - it never raises
            if is_folder and is_ignored_folder(entry.name):
                yield Skipped(path, "hidden, or a folder of another program", "ignored")
            elif is_link and (problem := links.problem(entry)):
                yield Skipped(path, *problem)
            elif is_folder:
                yield f"{path}/", "link" if is_link else "folder"
            elif problem := _why_no_image(entry):
                yield Skipped(path, *problem)
            else:
                yield path, "file"

    def warnings(self, counts: Mapping[str, int]) -> list[str]:
        """Return what a user should know of the labels, from the images of each, when the walk is over."""
        warnings = list(_label_warnings(self.folders, counts))
        if hint := box_hint(self.root):
            warnings.append(f"{self.root} was read as folders of labels, but it has files of boxes. {hint}")
        return warnings


def _why_no_image(entry: os.DirEntry[str]) -> Problem | None:
    """Return the reason and its kind where this file is not an image, else None."""
    if reason := why_ignored_file(entry.name):
        return reason, "ignored"
    ending = extension(entry.name)
    try:
        if not entry.is_file():
            return "not a regular file", "unreadable" if ending in EXTENSIONS else "ignored"
        if ending in UNSUPPORTED:
            return f"the format {ending} is not decoded: convert the image to PNG or JPEG", "unsupported"
        is_image = ending in EXTENSIONS or has_image_content(entry.path)
    except OSError as error:
        return f"cannot be opened: {(error.strerror or str(error)).lower()}", "unreadable"
    return None if is_image else ("not an image, by its name and its first bytes", "ignored")


def _label_warnings(folders: Sequence[str], counts: Mapping[str, int]) -> Iterator[str]:
    """Yield what a user should know of the labels: empty, thin, or hard to tell apart."""
    forms: dict[str, list[str]] = defaultdict(list)
    for folder in sorted(folders):
        forms[normal_label(folder)].append(folder)
    for label, names in forms.items():
        if label not in counts and visible(label):
            yield f"label {label!r} is empty: no image file in its folder"
        if len(names) > 1:
            yield f"the folders {', '.join(map(ascii, names))} are one label: only their Unicode form differs"
    yield from label_warnings(counts)
