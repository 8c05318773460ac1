"""The command `export`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import IndexArgument

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def export(
    index: IndexArgument = None,
    output: Annotated[Path, typer.Option(help="File to write, NAME.npz.")] = Path("index.npz"),
    history: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write what else is kept into this new folder: edits, runs, results and answers as JSON lines, and "
            "copies of added, removed and uploaded images.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    *,
    config: PipelineConfig,
) -> int:
    """Write a durable index into one .npz file.

    The file holds what answers: examples, vectors, calibration, dismissed findings. With --history, edits and runs of
    the server with their results and answers are written too, for other programs; `import` does not read them.
    """
    from lmm_classifier.core.errors import OutputError

    if output.is_file() and not overwrite:
        raise OutputError(f"{output} exists already. --overwrite replaces it.")
    source = index or config.retrieval.index_path
    counts = {} if history is None else _export_history(source, history)
    code = copy_index(source, output, config)
    if counts:
        from lmm_classifier.cli.console import escape_for_terminal

        what = ", ".join(f"{count} {name}" for name, count in counts.items())
        sys.stdout.write(escape_for_terminal(f"{history}: {what}") + "\n")
    return code


def _export_history(source: Path, output: Path) -> dict[str, int]:
    from lmm_classifier.review.history_export import export_history

    return export_history(source, output)


def copy_index(source: Path, output: Path, config: PipelineConfig) -> int:
    """Copy an index between its two forms: a durable folder and one .npz file."""
    from lmm_classifier.cli.console import escape_for_terminal
    from lmm_classifier.core.errors import IndexFileError
    from lmm_classifier.index.formats import has_npz_name, read_index, write_index

    if not has_npz_name(output) and not has_npz_name(source):
        raise IndexFileError(f"{source} and {output} are both durable indexes. One of them must be an .npz file.")
    contents = read_index(source)
    if not has_npz_name(output):
        _check_labels(set(contents.labels), source, config.unknown_label)
    write_index(output, contents)
    sys.stdout.write(escape_for_terminal(f"{output}: {len(contents.paths)} examples of {source}") + "\n")
    return 0


def _check_labels(labels: set[str], source: Path, unknown_label: str) -> None:
    """Refuse labels that no command would accept; another program may have written them."""
    from lmm_classifier.core.errors import DatasetError, IndexFileError
    from lmm_classifier.index.build.new_labels import checked_label

    for label in sorted(labels):
        try:
            checked_label(label, unknown_label)
        except DatasetError as error:
            raise IndexFileError(f"{source}: {error} Nothing was written.") from None
