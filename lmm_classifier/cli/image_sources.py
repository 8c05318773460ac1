"""The images that a command is given: files, folders that are searched, lists of files, and standard input."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.data.ignored_names import is_ignored_folder, why_ignored_file
from lmm_classifier.data.image_folder import find_images, nothing_found
from lmm_classifier.data.places import Place
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.opening import find_in_source, is_one_image

STDIN = Path("-")
_ENCODINGS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@dataclass
class ImageSources:
    """Files to read, each once and in the order they were given, and what was skipped in the folders.

    `stdin` is a temporary file with the bytes of standard input, which results name `-`.
    """

    paths: list[Place] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    repeated: int = 0  # files that were given more than once
    stdin: Path | None = None
    is_list: bool = False  # a list was read, whose order means something

    def add(
        self,
        names: Iterable[DatasetSpec | Path],
        images: ImagesConfig,
        leave_out: Path | None = None,
        literal: bool = False,
    ) -> None:
        """Add files, and the image files in folders.

        Args:
            names: files, folders and other datasets. Of several, files that are never images are passed over as in a
                folder, because a shell may have listed them.
            images: which links are followed.
            leave_out: a folder that is passed over in a search.
            literal: pass over no name.
        """
        known, specs = set(self.paths), list(map(DatasetSpec.of, names))
        for name in specs:
            if not literal and len(specs) > 1 and (reason := _why_ignored(name.source)):
                self.skipped.append(Skipped(name.source, reason, "ignored"))
                continue
            for path in self._found(name, images, leave_out, literal):
                if path in known:
                    self.repeated += 1
                else:
                    known.add(path)
                    self.paths.append(path)

    def _found(self, spec: DatasetSpec, images: ImagesConfig, leave_out: Path | None, literal: bool) -> Sequence[Place]:
        is_folder = os.path.isdir(spec.source) and not spec.has_choices  # noqa: PTH112 - it never raises
        if not is_folder and (literal or is_one_image(spec.source)):
            return [expand_home(spec.source)]
        if not is_folder:
            return self._in_dataset(spec, images)
        name = expand_home(spec.source)
        found = find_images(name, images.follow_links)
        self.skipped += [Skipped(str(name / file.path), file.reason, file.kind) for file in found.skipped]
        paths = found.paths
        if leave_out is not None:
            inside = {folder: _is_inside(folder, leave_out) for folder in {path.parent for path in paths}}
            paths = tuple(path for path in paths if not inside[path.parent])
        if left := len(found.paths) - len(paths):
            self.skipped.append(Skipped(str(leave_out), f"{left} images in the folder of sorted images", "ignored"))
        elif not paths:
            self.skipped.append(Skipped(str(name), "no image file in this folder", "empty"))
        return paths

    def _in_dataset(self, spec: DatasetSpec, images: ImagesConfig) -> Sequence[Place]:
        found = find_in_source(spec, images)
        self.skipped += [replace(file, path=f"{spec.source}/{file.path}") for file in found.skipped]
        self.warnings += [f"{spec.source}: {warning}" for warning in found.warnings]
        if not found.places:
            self.skipped.append(Skipped(spec.source, "no image in this dataset", "empty"))
        return found.places

    def accept_empty_folders(self) -> None:
        """Do not count folders without images as skipped."""
        self.skipped = [file for file in self.skipped if file.kind != "empty"]

    def require_any(self) -> None:
        """Raise DatasetError where there is nothing to classify, with what was skipped instead."""
        if not self.paths:
            folders = [file.path for file in self.skipped if file.kind == "empty"]
            where = ", ".join(folders[:3]) if folders else "the files and folders named"
            skipped = [file for file in self.skipped if file.kind != "empty"]
            raise DatasetError(nothing_found(f"No image files in {where}", skipped, "expected image files"))


@contextmanager
def standard_input(limit: int) -> Iterator[Path]:
    """Yield a temporary file with the bytes of one image from standard input; at most `limit` + 1 bytes are read."""
    with TemporaryDirectory(prefix="lmm-classifier-") as folder:
        path = Path(folder) / "stdin"
        if sys.stdin.isatty():
            sys.stderr.write("Reading one image from standard input.\n")
        path.write_bytes(sys.stdin.buffer.read(limit + 1))
        yield path


def read_list(source: Path, null: bool) -> list[Path]:
    """Return the files that a list names, relative to the current folder; blank lines are passed over.

    Args:
        source: a file, `-` for standard input. A byte order mark is understood, UTF-16 too.
        null: names end with a NUL byte, as those of `find -print0`, not with a line break.

    Raises:
        DatasetError: the list cannot be read, or it names nothing.
    """
    try:
        data = sys.stdin.buffer.read() if source == STDIN else source.read_bytes()
    except OSError as error:
        raise DatasetError(f"Cannot read the list of files {source}: {error.strerror}.") from error
    mark = next((mark for mark in _ENCODINGS if data.startswith(mark)), b"")
    data = data.removeprefix(mark)
    if _ENCODINGS.get(mark, "utf-8") != "utf-8":
        data = os.fsencode(data.decode(_ENCODINGS[mark], "replace"))
    if b"\0" in data and not null:
        raise DatasetError(f"The list of files {source} has NUL bytes: its names do not end with line breaks.")
    names = data.split(b"\0") if null else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    paths = [Path(os.fsdecode(name)) for name in names if name.strip()]
    if not paths:
        raise DatasetError(f"The list of files {source} names no file.")
    return paths


def _why_ignored(source: str) -> str | None:
    name = Path(source).name
    if not os.path.isdir(source):  # noqa: PTH112 - it never raises
        return why_ignored_file(name)
    return "hidden, or a folder of another program" if is_ignored_folder(name) else None


def _is_inside(folder: Path, other: Path) -> bool:
    inner, outer = os.path.realpath(folder), os.path.realpath(other)
    return inner == outer or inner.startswith(os.path.join(outer, ""))  # noqa: PTH118 - a trailing separator
