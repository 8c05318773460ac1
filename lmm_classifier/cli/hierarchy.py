"""The command `hierarchy`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import IndexArgument

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.core.index_location import IndexLocation
    from lmm_classifier.core.label_hierarchy import LabelHierarchy


def hierarchy(
    index: IndexArgument = None,
    propose: Annotated[
        list[int] | None,
        typer.Option(metavar="N", min=2, help="Propose N parts of the labels; repeat it for several levels."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the hierarchy to this YAML file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    *,
    config: PipelineConfig,
) -> int:
    """Show the coarse labels above the labels, or propose some.

    A proposal counts only after you accept it: read it, give the coarse labels better names, then set `hierarchy` to
    the file and calibrate again.

    Exit codes: 0 done, 1 failed.
    """
    from lmm_classifier.cli.console import escape_for_terminal
    from lmm_classifier.core.errors import OutputError
    from lmm_classifier.core.files import atomic_write, require_place
    from lmm_classifier.index.formats import read_index

    require_place(output)
    if output is not None and output.exists() and not overwrite:
        raise OutputError(f"{output} exists already. --overwrite replaces it.")
    config.retrieval.index_path = path = index or config.retrieval.index_path
    labels = sorted(set(read_index(path).labels))
    found = _proposed(path, propose) if propose else _in_use(config)
    if found is None:
        what = "There is no hierarchy: every label stands at the root."
        sys.stdout.write(f"{what} `--propose {max(len(labels) // 3, 2)}` proposes one, `hierarchy: FILE` sets one.\n")
        return 0
    text = found.to_yaml()
    if output is not None:
        with atomic_write(output) as temporary:
            temporary.write_text(text, encoding="utf-8")
    for note in found.notes(labels):
        sys.stderr.write(escape_for_terminal(f"note: {note}") + "\n")
    sys.stdout.write("".join(f"{escape_for_terminal(line)}\n" for line in text.splitlines()))
    if output is not None:
        sys.stderr.write(escape_for_terminal(f"Written to {output}. {_NEXT}") + "\n")
    return 0


_NEXT = "Set `hierarchy` to it, such as by --set hierarchy=FILE, then run `lmm-classifier calibrate`."


def _proposed(path: IndexLocation, groups: list[int]) -> LabelHierarchy:
    from lmm_classifier.discovery.hierarchy import propose_hierarchy
    from lmm_classifier.index.vector_index import Index

    return propose_hierarchy(Index.open_each(path), groups)


def _in_use(config: PipelineConfig) -> LabelHierarchy | None:
    """Return the hierarchy of the configuration, or of the folders."""
    from lmm_classifier.index.formats import read_index
    from lmm_classifier.pipeline.hierarchy.opening import open_hierarchy

    return open_hierarchy(config, read_index(config.retrieval.index_path))
