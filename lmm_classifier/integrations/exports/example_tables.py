"""The examples of an index as a table: a manifest in CSV, or Parquet with their vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lmm_classifier.core.csv_cells import write_row
from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.files import atomic_write
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.storage.state import as_embeddings
from lmm_classifier.integrations.exports.image_access import image_bytes, reason_of
from lmm_classifier.integrations.exports.new_file import require_new_file
from lmm_classifier.integrations.exports.parquet import image_type, parquet_rows, utf8

COLUMNS = ("path", "label", "content_hash")
_GROUP = "group"  # a further column, where the vectors came with groups


def export_csv(contents: IndexContents, output: Path, overwrite: bool = False) -> None:
    """Write a manifest: the id, the label and the content of each example, one a line; and its group if any has one.

    Ids are relative to the dataset, so the table is a manifest in the folder of the dataset. `unescape_cell` undoes the
    apostrophe that keeps a spreadsheet from taking a cell for a formula.

    Raises:
        OutputError: the file exists and is not to be overwritten, or cannot be written.
    """
    require_new_file(output, b"path,", overwrite)
    try:
        with (
            atomic_write(output) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            write_row(file, [*COLUMNS, _GROUP] if contents.groups else COLUMNS)
            for row in zip(contents.paths, contents.labels, contents.hashes):
                write_row(file, [*row, contents.groups.get(row[0])] if contents.groups else row)
    except OSError as error:
        raise OutputError(f"Cannot write {output}: {error.strerror}.") from error


def export_parquet(
    contents: IndexContents, output: Path, limits: ImageLimits, with_images: bool = False, overwrite: bool = False
) -> list[Skipped]:
    """Write a table of ids, labels, contents and vectors, which `import` reads back as the same index.

    The vectors of further encoders are in columns `vector_2` and so on. Groups that came with vectors are in `group`.

    Args:
        contents: the examples.
        output: the file.
        limits: the largest image to read.
        with_images: add the bytes of the image files.
        overwrite: replace an existing file.

    Returns:
        The images whose bytes could not be written; their rows are there without them.

    Raises:
        OutputError: the file exists and is not to be overwritten, or cannot be written.
        MissingExtraError: pyarrow is not installed.
    """
    arrow = import_optional("pyarrow", "parquet")
    names = ["vector", *(f"vector_{number}" for number in range(2, len(contents.vectors) + 1))]
    columns: dict[str, Any] = dict.fromkeys(COLUMNS, arrow.string())
    columns |= {_GROUP: arrow.string()} if contents.groups else {}
    columns |= dict.fromkeys(names, arrow.list_(arrow.float32()))
    columns |= {"image": image_type()} if with_images else {}
    problems = []
    with parquet_rows(output, columns, overwrite) as rows:
        blocks = [_rows_of(vectors.blocks()) for vectors in contents.vectors]
        for path, label, content_hash, *vectors in zip(
            contents.paths, contents.labels, contents.hashes, *blocks, strict=True
        ):
            row: dict[str, Any] = dict(zip(COLUMNS, (path, label, content_hash)))
            row |= {_GROUP: contents.groups.get(path)} if contents.groups else {}
            row |= dict(zip(names, vectors))
            if with_images:
                try:
                    data = image_bytes(contents.file_of(path), content_hash, limits)
                    row["image"] = {"bytes": data, "path": utf8(path)}
                except OSError as error:
                    row["image"] = None
                    problems.append(Skipped(path, reason_of(error), "not_exported"))
            rows.add(row)
    return problems


def _rows_of(blocks: Any) -> Any:
    for block in blocks:
        yield from as_embeddings(block)
