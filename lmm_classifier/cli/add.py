"""The command `add`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import IndexOption, JsonFlag

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def add(
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders that are searched.")],
    label: Annotated[str, typer.Option(help="The label of all of them.")],
    index: IndexOption = None,
    as_json: JsonFlag = False,
    *,
    config: PipelineConfig,
) -> int:
    """Add images of a label to an index.

    They count from the next classified image on.

    Exit codes: 0 all are in the index, 3 some are not, 1 failed.
    """
    from lmm_classifier.cli.edit_output import print_edit
    from lmm_classifier.core.errors import DatasetError
    from lmm_classifier.data.image_folder import find_images
    from lmm_classifier.index.build.editor import IndexEditor

    files = [file for path in images for file in (find_images(path) if path.is_dir() else [path])]
    if not files:
        raise DatasetError(f"No image file in {', '.join(map(str, images))}")
    path = index or config.retrieval.index_path
    return print_edit(path, IndexEditor(path, config).add(files, label), as_json)
