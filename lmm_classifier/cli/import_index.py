"""The command `import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def import_index(
    file: Annotated[Path, typer.Argument(help="Index in one .npz file.")],
    output: Annotated[Path, typer.Option(help="Folder of the new durable index.")] = Path("index"),
    *,
    config: PipelineConfig,
) -> int:
    """Make a durable index of an .npz file.

    Nothing is encoded.
    """
    from lmm_classifier.cli.export import copy_index
    from lmm_classifier.core.errors import IndexFileError
    from lmm_classifier.index.formats import has_npz_name

    if has_npz_name(output):
        raise IndexFileError(
            f"{output} is the name of an .npz file. Expected a folder for the durable index: --output index"
        )
    return copy_index(file, output, config)
