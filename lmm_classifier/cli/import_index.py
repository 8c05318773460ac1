"""The command `import`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.completion import complete_place
from lmm_classifier.cli.options import (
    GroupColumnOption,
    GroupsOption,
    IdColumnOption,
    JsonFlag,
    LabelColumnOption,
    LabelsOption,
    VectorColumnOption,
)

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.core.index_location import IndexLocation


class Source(StrEnum):
    """What an index is made of, or where its corrected labels come from."""

    NPZ = "npz"
    LANCE = "lance"
    PARQUET = "parquet"
    NPY = "npy"
    LABEL_STUDIO = "label-studio"
    FIFTYONE = "fiftyone"
    CSV = "csv"


_LABELS = (Source.LABEL_STUDIO, Source.FIFTYONE, Source.CSV)  # corrected ones, for an index that is there


def import_index(
    file: Annotated[
        str,
        typer.Argument(
            autocompletion=complete_place,
            help="Index in one .npz file, or a table of Lance at a path or URL; vectors: .parquet, a folder of them, "
            "or .npy; or corrected labels: an export of Label Studio or FiftyOne, or a .csv table.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Folder of the new durable index.")] = Path("index"),
    source: Annotated[
        Source | None, typer.Option("--from", help="What the file holds. [default: by its ending]")
    ] = None,
    vector_column: VectorColumnOption = None,
    label_column: LabelColumnOption = "label",
    id_column: IdColumnOption = None,
    group_column: GroupColumnOption = None,
    labels: LabelsOption = None,
    groups: GroupsOption = None,
    ids: Annotated[Path | None, typer.Option(help=".npy: the ids, in a list like that of --labels.")] = None,
    encoder: Annotated[
        str, typer.Option(metavar="NAME", help="What made the vectors, with its version; info shows it.")
    ] = "vectors",
    index: Annotated[
        Path | None, typer.Option(help="Corrected labels: the index. [default: retrieval.index_path]")
    ] = None,
    label_field: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Corrected labels: the choices of Label Studio, the field of FiftyOne, or the column. "
            "[default: label; ground_truth in samples.json]",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Corrected labels: show what would change, and change nothing.")
    ] = False,
    as_json: JsonFlag = False,
    *,
    config: PipelineConfig,
) -> int:
    """Make a durable index of a file, or apply corrected labels.

    The file is an index in one .npz file or a table of Lance, or holds vectors. Nothing is encoded. An index of vectors
    has no images: it is classified with `classify --vectors`, and can be calibrated, audited and edited. Corrected
    labels are one edit, which `undo` takes back. Exit code 3 says that some were not used: no example of the index has
    that name, or two people disagree.
    """
    from lmm_classifier.cli.export import copy_index
    from lmm_classifier.core.errors import IndexFileError
    from lmm_classifier.core.index_location import index_location
    from lmm_classifier.index.formats import has_durable_name

    if not has_durable_name(output):
        what = "a table" if output.suffix == ".lance" else "an .npz file"
        raise IndexFileError(f"{output} is the name of {what}. Expected a folder for the durable index: --output index")
    place = index_location(file)
    kind = source or _kind_of(place)
    if kind in _LABELS:
        from lmm_classifier.cli.corrected_labels import import_corrected_labels

        return import_corrected_labels(Path(place), kind.value, index, label_field, dry_run, as_json, config)
    if index is not None or label_field is not None or dry_run or as_json:
        raise typer.BadParameter("--index, --label-field, --dry-run and --json belong to corrected labels (--from).")
    lists = (labels, ids, groups)
    if any(lists) and kind != Source.NPY:
        raise typer.BadParameter("--labels, --ids and --groups belong to an .npy file; in a table they are columns.")
    if kind in (Source.NPZ, Source.LANCE):
        return copy_index(place, output, config)
    if kind == Source.NPY and labels is None:
        raise typer.BadParameter("An .npy file has no labels. Name their list with --labels.")
    columns = (vector_column, label_column, id_column, group_column)
    return _import_vectors(Path(place), kind, output, columns, lists, encoder, config)


def _kind_of(file: IndexLocation) -> Source:
    """Return what a file holds by its ending; a folder holds tables."""
    from lmm_classifier.index.formats import is_table

    if is_table(file):
        return Source.LANCE
    file = Path(file)  # no URL
    ending = file.suffix.lower()
    if ending in (".parquet", ".npy"):
        return Source(ending[1:])
    if ending in (".csv", ".tsv"):
        return Source.CSV
    if ending == ".json":
        raise typer.BadParameter(f"What {file} holds is not known by its ending. Expected --from.")
    return Source.PARQUET if file.is_dir() else Source.NPZ


def _import_vectors(
    file: Path,
    kind: Source,
    output: Path,
    columns: tuple[str | None, str, str | None, str | None],
    lists: tuple[Path | None, Path | None, Path | None],
    encoder: str,
    config: PipelineConfig,
) -> int:
    from lmm_classifier.cli.console import escape_for_terminal
    from lmm_classifier.cli.given_vectors import options_named
    from lmm_classifier.data.vectors.named_vectors import VectorColumns
    from lmm_classifier.data.vectors.npy_vectors import read_npy
    from lmm_classifier.data.vectors.parquet_vectors import read_parquet
    from lmm_classifier.index.build.new_labels import checked_label
    from lmm_classifier.index.formats import require_new
    from lmm_classifier.index.vector_index import Index

    require_new(output)
    named = VectorColumns(*columns)
    with options_named(named):
        given = read_npy(file, *lists) if kind == Source.NPY else read_parquet(file, named)
    for label in sorted(set(given.labels or ())):
        checked_label(label, config.unknown_label)
    index = Index.from_vectors(given.vectors, given.labels or (), given.ids, encoder, groups=given.groups)
    index.save(output)
    what = f"{len(index)} vectors of {index.fingerprint.dim} numbers, {len(index.label_names)} labels"
    read = f" ({given.columns})" if given.columns else ""
    sys.stdout.write(escape_for_terminal(f"{output}: {what} of {file}{read}") + "\n")
    return 0
