"""What a reader lists of a source: rows with ids, and labels as they are written there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from lmm_classifier.core.errors import ConfigError, DatasetError
from lmm_classifier.core.label_hierarchy import hierarchy_of_pairs
from lmm_classifier.core.labels import normal_label, visible
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.places import Root
from lmm_classifier.data.readers.dataset_spec import DatasetSpec

Value = str | int | float | bool | None  # of a cell


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a source. Where `problem`, a reason with its kind, is given, it cannot be used.

    `name` is what the source calls it, such as "annotation 7", where its path does not say that.
    """

    path: str
    label: Value = None
    group: Value = None
    split: Value = None
    problem: tuple[str, str] | None = None
    name: str = ""


@dataclass
class Listing:
    """The images of a source in any order."""

    root: Root
    rows: list[Row] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    labels: str = "its folder"  # where the labels are, in words


def rows_by_folders(paths: Iterable[str], spec: DatasetSpec) -> list[Row]:
    """Return rows whose labels, groups and splits are the names of folders.

    With `label_from` "path" the last folder is the label, and the folders above are coarse labels.

    Raises:
        DatasetError: a choice is no level of folders, or the folders are no hierarchy of labels.
    """
    paths = list(paths)
    if spec.label_from == "path":
        _require_hierarchy(paths, spec)
    label, group, split = (
        _level(choice, name)
        for choice, name in (
            (spec.label_from or "1", "label_from"),
            (spec.group_from, "group_from"),
            (spec.split_from, "split_from"),
        )
    )
    return [
        Row(path, label(folders), group(folders), split(folders))
        for path in paths
        for folders in [path.split("/")[:-1]]
    ]


def _require_hierarchy(paths: Sequence[str], spec: DatasetSpec) -> None:
    folders = {path.rpartition("/")[0] for path in paths}
    steps = [folder.split("/") for folder in sorted(folders) if visible(folder.rpartition("/")[2])]
    try:
        hierarchy_of_pairs({(normal_label(label), tuple(map(normal_label, above))) for *above, label in steps})
    except ConfigError as error:
        raise DatasetError(
            f"The folders of {spec.source} are no hierarchy: {error}. Rename folders, or take `label_from: parent`, "
            "which makes no hierarchy."
        ) from None


def _level(choice: str | None, name: str) -> Callable[[Sequence[str]], str | None]:
    """Return what picks one of the folders of a path, None where it has too few."""
    if choice is None:
        return lambda _: None
    if choice == "parent" or (choice == "path" and name == "label_from"):
        return lambda folders: folders[-1] if folders else None
    more = " or 'path'" if name == "label_from" else ""
    if not (choice.isascii() and choice.isdigit() and 1 <= int(choice) <= 99):
        raise DatasetError(
            f"{name} is {choice!r}. In folders and archives it is a level, 1 or more, or 'parent'{more}."
        )
    place = int(choice) - 1
    return lambda folders: folders[place] if place < len(folders) else None
