"""The command `export`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lmm_classifier.cli.completion import complete_place
from lmm_classifier.cli.options import IndexArgument

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.core.index_location import IndexLocation
    from lmm_classifier.integrations.exports.export_options import ExportOptions
    from lmm_classifier.integrations.exports.index_export import IndexFormat


class Target(StrEnum):
    """What an index is written as."""

    NPZ = "npz"
    LANCE = "lance"
    FOLDER = "folder"
    CSV = "csv"
    PARQUET = "parquet"
    CLEANLAB = "cleanlab"
    LABEL_STUDIO = "label-studio"
    FIFTYONE = "fiftyone"


def export(
    index: IndexArgument = None,
    to: Annotated[Target, typer.Option("--to", help="What the index is written as.")] = Target.NPZ,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|URL",
            autocompletion=complete_place,
            help="File to write; a folder for folder, cleanlab and fiftyone; for lance a folder NAME.lance, or a URL. "
            "[default: index.npz; others need one]",
        ),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="npz: write what else is kept into this new folder: edits, runs, results and answers as JSON lines, "
            "and copies of added, removed and uploaded images.",
        ),
    ] = None,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="parquet: add the bytes of the image files.")
    ] = False,
    url_prefix: Annotated[
        str | None,
        typer.Option(metavar="URL", help="label-studio: what makes a URL of an id. [default: files of its machine]"),
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="folder: make links instead of copies.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")] = False,
    *,
    config: PipelineConfig,
) -> int:
    """Write an index into one .npz file, or its examples for another program.

    The .npz file holds what answers: examples, vectors, calibration, dismissed findings. So does a table of Lance,
    which may be on an object store. With --history, edits and runs of the server with their results and answers are
    written too, for other programs; `import` does not read them.

    The others hold the examples: folder has images by label, csv a manifest, parquet a table with vectors, cleanlab
    arrays with held-out probabilities, label-studio tasks, fiftyone a dataset. Exit code 3 says that some images or
    examples are not in it.
    """
    from lmm_classifier.core.errors import OutputError
    from lmm_classifier.core.paths import expand_home
    from lmm_classifier.integrations.exports.export_options import ExportOptions

    source = index or config.retrieval.index_path
    options = ExportOptions(with_images, url_prefix, link, overwrite)
    options.require_for(to.value)
    if to != Target.NPZ:
        if output is None or history is not None:
            raise typer.BadParameter("--to needs --output. --history belongs to npz.")
        if to == Target.LANCE:
            return _export_table(source, output, config)
        return _export_examples(source, expand_home(output), cast("IndexFormat", to.value), options, config)
    file = expand_home(output or "index.npz")
    if file.is_file() and not overwrite:
        raise OutputError(f"{file} exists already. --overwrite replaces it.")
    counts = {} if history is None else _export_history(source, history)
    code = copy_index(source, file, config)
    if counts:
        what = ", ".join(f"{count} {name}" for name, count in counts.items())
        _print(f"{history}: {what}")
    return code


def _export_table(source: IndexLocation, output: str, config: PipelineConfig) -> int:
    from lmm_classifier.core.index_location import index_location
    from lmm_classifier.index.formats import is_table

    place = index_location(output)
    if not is_table(place):
        raise typer.BadParameter(f"{place} is no table. Expected NAME.lance, or a URL such as s3://BUCKET/NAME.")
    return copy_index(source, place, config)


def _export_examples(
    source: IndexLocation, output: Path, to: IndexFormat, options: ExportOptions, config: PipelineConfig
) -> int:
    from lmm_classifier.cli.console import command_progress, print_skipped
    from lmm_classifier.cli.interruption import told_if_interrupted
    from lmm_classifier.integrations.exports.index_export import export_index

    state = "What was copied stays." if to == "folder" else f"{output} was not written."
    with told_if_interrupted(lambda: f"Interrupted. {state}"), command_progress() as show:
        report = export_index(source, output, to, config, options, show)
    counts = ", ".join(f"{count} {what}" for what, count in report.counts.items())
    done = f" ({counts})" if counts else ""
    lines = [f"{output}: {report.examples} examples of {source}{done}"]
    lines += [f"the folder of {label!r} is {folder!r}" for label, folder in report.folders.items() if folder != label]
    _print(*lines)
    print_skipped(report.skipped)
    return 3 if report.skipped else 0


def _print(*lines: str) -> None:
    from lmm_classifier.cli.console import escape_for_terminal

    sys.stdout.write("\n".join(map(escape_for_terminal, lines)) + "\n")


def _export_history(source: IndexLocation, output: Path) -> dict[str, int]:
    from lmm_classifier.review.history_export import export_history

    return export_history(source, output)


def copy_index(source: IndexLocation, output: IndexLocation, config: PipelineConfig) -> int:
    """Copy an index between its forms: a durable folder, one .npz file, and a table."""
    from lmm_classifier.core.errors import IndexFileError
    from lmm_classifier.index.formats import has_durable_name, read_index, write_index

    if has_durable_name(output) and has_durable_name(source):
        raise IndexFileError(
            f"{source} and {output} are both durable indexes. One of them must be an .npz file, or a table."
        )
    contents = read_index(source)
    if has_durable_name(output):
        _check_labels(set(contents.labels), source, config.unknown_label)
    write_index(output, contents)
    _print(f"{output}: {len(contents.paths)} examples of {source}")
    return 0


def _check_labels(labels: set[str], source: IndexLocation, unknown_label: str) -> None:
    """Refuse labels that no command would accept; another program may have written them."""
    from lmm_classifier.core.errors import DatasetError, IndexFileError
    from lmm_classifier.index.build.new_labels import checked_label

    for label in sorted(labels):
        try:
            checked_label(label, unknown_label)
        except DatasetError as error:
            raise IndexFileError(f"{source}: {error} Nothing was written.") from None
