"""Options that say which dataset a command reads, and where its labels, groups and splits are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lmm_classifier.data.readers.dataset_spec import DatasetSpec

SOURCES = "a folder, a .zip, .tar, .csv, .jsonl or .parquet file, a URL, coco:FILE@IMAGES, voc:FOLDER@IMAGES, hf:NAME"

LabelFromOption = Annotated[
    str | None,
    typer.Option(
        metavar="LEVEL|COLUMN",
        help="Where labels are: level of folders (1, 2, parent, path), or column. [default: 1, label]",
    ),
]
ImageFromOption = Annotated[
    str | None, typer.Option(metavar="COLUMN", help="Column with images or their paths. [default: its usual names]")
]
GroupFromOption = Annotated[
    str | None, typer.Option(metavar="LEVEL|COLUMN", help="Where groups are, for calibrate --group-by column.")
]
EvaluatedGroupFromOption = Annotated[
    str | None, typer.Option("--group-from", metavar="LEVEL|COLUMN", help="Where groups are, for --group-by column.")
]
SplitFromOption = Annotated[str | None, typer.Option(metavar="LEVEL|COLUMN", help="Where splits are. [default: split]")]
SplitOption = Annotated[str | None, typer.Option(metavar="NAME", help="Use only this split, e.g. train.")]


def named_dataset(
    source: str,
    label_from: str | None = None,
    image_from: str | None = None,
    group_from: str | None = None,
    split_from: str | None = None,
    split: str | None = None,
) -> DatasetSpec:
    """Return the dataset that an argument and its options name."""
    from lmm_classifier.data.readers.dataset_spec import DatasetSpec

    return DatasetSpec(source, label_from, image_from, group_from, split_from, split)
