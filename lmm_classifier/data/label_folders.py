"""Sort images into one folder per label: copied, linked or moved, and never over another file.

Doing it again changes nothing: an image that is there already is told by its content. A file appears whole or not at
all, so an interrupted run can be repeated.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Literal

from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.files import content_hash
from lmm_classifier.core.own_files import OUTPUT_MARK, own_kind
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.folder_names import folder_name
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place, file_name
from lmm_classifier.data.readers.crop_files import crop_file_name, crop_png
from lmm_classifier.data.readers.crops import Crop

Action = Literal["copy", "link", "move"]
_DONE = {"copy": "copied", "link": "linked", "move": "moved"}
_NO_USE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # the next image would fail too
_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_CHUNK = 1 << 20


class LabelFolders:
    """Folders of images, one per label.

    Args:
        root: where the folders are made.
        action: `copy` the files, `link` to them (symbolic links), or `move` them.
        limits: the largest image of which a part is cut out.

    Raises:
        OutputError: nothing can be written to `root`, or it is an index.
    """

    def __init__(self, root: Path, action: Action, limits: ImageLimits = ImageLimits()) -> None:
        self.root: Path = root
        self.action = action
        self._limits = limits
        self.counts: Counter[str] = Counter()  # what was done, in words
        self.problems: list[Skipped] = []  # images that are not there, with the reason
        self.folders: dict[str, Path] = {}  # label -> its folder
        self._labels: dict[tuple[int, int], str] = {}  # device and number of a folder -> its label
        try:
            names = [entry.name for entry in root.iterdir()] if root.exists() else []
            if own_kind(names) == "index":
                raise OutputError(f"Cannot write to {root}: it is an index. Choose another folder.")
            root.mkdir(parents=True, exist_ok=True)
            if not names:  # a later search for images passes the folder over
                (root / OUTPUT_MARK).touch()
            with NamedTemporaryFile(prefix=".lmm-classifier-", dir=root):
                pass
        except OSError as error:
            raise OutputError(f"Cannot write to {root}: {error.strerror}.") from error

    def place(self, file: Place, label: str, expected: str) -> None:
        """Bring one image into the folder of its label, and count what was done.

        Args:
            file: the image. One that is no file of its own can only be copied; a part of one becomes a PNG.
            label: its label.
            expected: SHA-256 of its content in hexadecimal. A file that has changed is left where it is.

        Raises:
            OutputError: the disk is full or cannot be written; what is there stays.
        """
        try:
            if isinstance(file, Path):
                self.counts[self._place(file, self._folder(label), expected)] += 1
            else:
                self.counts[self._copy_of(file, self._folder(label), expected)] += 1
        except OSError as error:
            if error.errno in _NO_USE:
                raise OutputError(f"Cannot write to {self.root}: {error.strerror}.") from error
            self.counts["failed"] += 1
            self.problems.append(Skipped(str(file), (error.strerror or str(error)).lower(), "not_sorted"))

    def _copy_of(self, place: Place, folder: Path, expected: str) -> str:
        """Write a member of an archive, a row, an object or a part of an image, and bring that file into the folder."""
        if self.action != "copy":
            raise OSError("not a file of its own, so it can only be copied")
        with TemporaryDirectory(prefix=".lmm-classifier-", dir=self.root) as temporary:
            if isinstance(place, Crop):
                data = crop_png(place, expected, self._limits)
                file, expected = Path(temporary) / crop_file_name(place), sha256(data).hexdigest()
            else:
                data, file = place.read_bytes(), Path(temporary) / file_name(place)
            file.write_bytes(data)
            return self._place(file, folder, expected)

    def _folder(self, label: str) -> Path:
        """Return the folder of a label; two labels never share one, also where the file system ignores case."""
        if label not in self.folders:
            folder = self.root / folder_name(label)
            folder.mkdir(exist_ok=True)
            status = folder.stat()
            if self._labels.setdefault((status.st_dev, status.st_ino), label) != label:
                folder = self.root / folder_name(label, distinct=True)
                folder.mkdir(exist_ok=True)
            self.folders[label] = folder
        return self.folders[label]

    def _place(self, file: Path, folder: Path, expected: str) -> str:
        if folder.samefile(file.parent):
            return "already there"
        stem, suffix = file.stem, file.suffix
        for name in (file.name, _shortened(stem, f"-{expected[:8]}{suffix}"), _shortened(stem, f"-{expected}{suffix}")):
            target = folder / name
            if self._holds(target, file, expected):
                if self.action == "move" and content_hash(file) == expected:
                    file.unlink()  # a former run was interrupted, or the same image is there
                return "already there"
            if os.path.lexists(target):
                continue
            try:
                self._bring(file, target, expected)
            except FileExistsError:  # another program was faster
                continue
            return _DONE[self.action]
        raise FileExistsError(errno.EEXIST, "another file has its name", str(target))

    def _holds(self, target: Path, file: Path, expected: str) -> bool:
        """Return whether the image is at `target` already."""
        if self.action == "link":
            return target.is_symlink() and os.path.realpath(target) == os.path.realpath(file)
        if target.is_symlink() or not target.is_file() or target.stat().st_size != file.stat().st_size:
            return False
        return content_hash(target) == expected

    def _bring(self, file: Path, target: Path, expected: str) -> None:
        if self.action == "link":
            target.symlink_to(os.path.realpath(file))
            return
        may_link = self.action == "move" and not file.is_symlink() and content_hash(file) == expected
        if may_link and _linked(file, target):
            file.unlink()
            return
        _copy(file, target, expected, lasting=self.action == "move")
        if self.action == "move":
            file.unlink()


def _linked(file: Path, target: Path) -> bool:
    """Give a file a second name; return False where it is on another disk or the disk has no links."""
    try:
        target.hardlink_to(file)
    except NotImplementedError:
        return False
    except OSError as error:
        if error.errno in _NO_LINKS:
            return False
        raise
    return True


def _copy(file: Path, target: Path, expected: str, lasting: bool) -> None:
    """Copy content, time and permissions; `target` appears when it is complete, with `lasting` on the disk itself."""
    with NamedTemporaryFile(prefix=".lmm-classifier-", suffix=".tmp", dir=target.parent, delete=False) as temporary:
        path = Path(temporary.name)
        try:
            digest = sha256()
            with file.open("rb") as source:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    temporary.write(chunk)
            if digest.hexdigest() != expected:
                raise OSError(errno.ESTALE, "the file changed after it was classified", str(file))
            temporary.flush()
            if lasting:
                os.fsync(temporary.fileno())
            with suppress(PermissionError):  # some file systems have no permissions
                shutil.copystat(file, path)
            if not _linked(path, target):
                _take_name(path, target)
        finally:
            path.unlink(missing_ok=True)


def _take_name(path: Path, target: Path) -> None:
    """Rename a file without replacing another, where the disk has no links."""
    with target.open("x"):  # reserves the name
        pass
    try:
        path.replace(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise


def _shortened(stem: str, ending: str) -> str:
    """Return a file name of at most 255 bytes."""
    room = 255 - len(os.fsencode(ending))
    return os.fsdecode(os.fsencode(stem)[: max(room, 1)]) + ending
