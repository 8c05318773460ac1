"""Files in the folder of an index that an interrupted program left, or that lost their example."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.index.contents import ADDED
from lmm_classifier.index.storage.editing.stored_rows import opened_rows
from lmm_classifier.index.storage.editing.trash import Trash
from lmm_classifier.index.storage.reader import ADDED_FOLDER, read_store
from lmm_classifier.index.storage.salvage import UNFINISHED
from lmm_classifier.index.storage.snapshot import FOLDER

_LISTED = 3  # names given of many
_SET_ASIDE = "set-aside"  # folder of added images that are no examples
Problem = tuple[str, str]  # what is wrong, and what to do


def listed(names: Iterable[str]) -> str:
    """Return the first names, and how many more there are."""
    names = sorted(names)
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def find_leftovers(path: Path, repair: bool) -> Iterator[Problem]:
    """Yield what is left over in the index at `path`; a repair deletes temporary files, and only moves images."""
    temporary = [*path.glob(f"{FOLDER}/*.tmp"), *path.glob(f"{FOLDER}/.*.tmp"), *path.glob(f"{ADDED_FOLDER}/.*.tmp")]
    temporary += path.glob(f"{UNFINISHED}*")
    if temporary:
        for file in temporary if repair else []:
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        yield (
            f"{len(temporary)} files are left over: {listed(file.name for file in temporary)}",
            "a repair removes them",
        )
    with suppress(LmmClassifierError):
        examples = {name.removeprefix(ADDED) for name in read_store(path).paths if name.startswith(ADDED)}
        with opened_rows(path) as rows:
            journal = rows.journal_images()
        yield from _misplaced_images(path, examples, journal, repair)


def _misplaced_images(path: Path, examples: set[str], journal: set[str], repair: bool) -> Iterator[Problem]:
    """Yield which images added by hand are not where they belong; a name that begins with a dot is a temporary one."""
    trash = Trash(path)
    added = {file.name for file in trash.added.glob("[!.]*") if file.is_file()}
    removed = trash.names()
    if former := (added - examples) & journal:
        if repair:
            trash.put(f"{ADDED}{name}" for name in former)
        yield f"{len(former)} removed images are not in the trash yet: {listed(former)}", "a repair moves them there"
    if current := (removed & examples) - added:
        if repair:
            trash.restore(f"{ADDED}{name}" for name in current)
        yield f"{len(current)} images of examples are in the trash: {listed(current)}", "a repair moves them back"
    aside = f"a repair moves them to {path / _SET_ASIDE}"
    if lost := added - examples - journal:
        _set_aside(path, [trash.added / name for name in lost] if repair else [])
        yield f"{len(lost)} images added by hand are no examples: {listed(lost)}", f"{aside}; add them again"
    if unused := removed - examples - journal:
        _set_aside(path, [trash.folder / name for name in unused] if repair else [])
        yield f"{len(unused)} images in the trash belong to no edit: {listed(unused)}", f"{aside}; delete them there"


def _set_aside(path: Path, files: Iterable[Path]) -> None:
    for file in files:
        (path / _SET_ASIDE).mkdir(exist_ok=True)
        file.replace(path / _SET_ASIDE / file.name)
