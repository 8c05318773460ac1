"""Read a manifest: a table that names image files relative to its folder, with labels, groups and splits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lmm_classifier.core.errors import DatasetError
from lmm_classifier.data.links import Problem
from lmm_classifier.data.places import Root
from lmm_classifier.data.readers.columns import column
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.data.readers.listing import Listing, Row, Value
from lmm_classifier.data.readers.names import member_id
from lmm_classifier.data.readers.parquet_file import ParquetTable
from lmm_classifier.data.readers.parquet_images import ParquetImages, image_row_id
from lmm_classifier.data.readers.source_file import SourceFile
from lmm_classifier.data.readers.tables import Table, read_table
from lmm_classifier.data.readers.urls import is_url

Choices = Mapping[str, str | None]  # role -> name of its column


def read_manifest(
    file: SourceFile, ending: str, root: Root, spec: DatasetSpec, follow_links: Sequence[Path] = ()
) -> Listing:
    """List the images that a table names, or holds.

    Args:
        file: the table.
        ending: of its name: csv, tsv, jsonl, ndjson or parquet.
        root: the folder that paths in the table start from.
        spec: the columns.
        follow_links: folders outside the root into which links may lead.

    Raises:
        DatasetError: the table cannot be read, or lacks a column.
    """
    columns, table = read_table(file, ending)
    chosen = {
        "image": column(spec.image_from, columns, "image", file),
        "label": column(spec.label_from, columns, "label", file),
        "group": column(spec.group_from, columns, "group", file),
        "split": column(spec.split_from, columns, "split", file),
    }
    image, label = chosen["image"], chosen["label"]
    if image is None:
        raise DatasetError(
            f"{file} has no column that is known to name images. Its columns are "
            f"{', '.join(map(repr, columns[:20])) or 'none'}. Say which one it is (image_from)."
        )
    where = (
        f"the column {label!r}" if label is not None else "the table: no column is known to hold labels (label_from)"
    )
    if isinstance(table, ParquetTable) and table.holds_images(image):
        return Listing(ParquetImages(file, image, table), list(_image_rows(table, image, chosen)), labels=where)
    rule = _PathRule(root, follow_links)
    return Listing(root, [rule.row(values, chosen) for values in _rows(table, chosen)], labels=where)


def _rows(table: Table, chosen: Choices) -> Iterator[Mapping[str, Value]]:
    if isinstance(table, ParquetTable):
        yield from table.rows([name for name in dict.fromkeys(chosen.values()) if name is not None])
    else:
        yield from table


def _image_rows(table: ParquetTable, image: str, chosen: Choices) -> Iterator[Row]:
    roles = {role: name for role, name in chosen.items() if role != "image"}
    names = [name for name in dict.fromkeys(roles.values()) if name is not None]
    values: Iterator[Mapping[str, Value]] = table.rows(names) if names else iter(())
    for number, name in enumerate(table.image_names(image)):
        yield _row(image_row_id(number, name), next(values, {}), roles)


def _row(path: str, values: Mapping[str, Value], roles: Choices) -> Row:
    label, group, split = (values.get(roles[role] or "") for role in ("label", "group", "split"))
    return Row(path, label, group, split)


class _PathRule:
    """Turns the cells of a table into ids: no path leaves the folder of the table, not by a link either."""

    def __init__(self, root: Root, follow_links: Sequence[Path]) -> None:
        self._root = root
        self._folder = root if isinstance(root, Path) else None
        folders = [] if self._folder is None else [self._folder, *follow_links]
        self._inside = tuple(os.path.join(os.path.realpath(folder), "") for folder in folders)  # noqa: PTH118

    def row(self, values: Mapping[str, Value], chosen: Choices) -> Row:
        """Return the row of an image."""
        cell = values.get(chosen["image"] or "")
        if not isinstance(cell, str) or not cell:
            return Row(str(cell), problem=("a row without the path of an image", "no_path"))
        path, problem = self._checked(cell)
        return Row(path, problem=problem) if problem else _row(path, values, chosen)

    def _checked(self, cell: str) -> tuple[str, Problem | None]:
        if is_url(cell):
            return cell, ("a URL: only paths below the folder of the table are read", "outside")
        if self._folder is not None and os.path.isabs(cell):  # noqa: PTH117
            relative = os.path.relpath(cell, self._folder)
            path = None if relative.startswith(os.pardir) else member_id(relative.replace(os.sep, "/"))
        else:
            path = member_id(cell)
        if path is None:
            return cell, ("its path leaves the folder of the table", "outside")
        if self._folder is not None:
            try:
                target = os.path.realpath(self._folder / path)
            except ValueError:  # a lone surrogate
                return path, ("no file can have this name", "unreadable")
            if not target.startswith(self._inside):
                return path, (f"a link to {target}, outside the folder of the table", "outside")
        return path, None
