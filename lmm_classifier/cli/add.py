"""The command `add`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.completion import complete_dataset
from lmm_classifier.cli.dataset_options import SOURCES, ImageFromOption, SplitFromOption, SplitOption, named_dataset
from lmm_classifier.cli.options import FollowLinksOption, IndexOption, JsonFlag, NoteOption

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


def add(
    images: Annotated[
        list[str],
        typer.Argument(
            help=f"Image files, and datasets whose images all get the label: {SOURCES}.",
            autocompletion=complete_dataset,
        ),
    ],
    label: Annotated[str, typer.Option(help="The label of all of them.")],
    index: IndexOption = None,
    note: NoteOption = "",
    as_json: JsonFlag = False,
    follow_links: FollowLinksOption = None,
    image_from: ImageFromOption = None,
    split_from: SplitFromOption = None,
    split: SplitOption = None,
    *,
    config: PipelineConfig,
) -> int:
    """Add images of a label to an index.

    They count from the next classified image on.

    Exit codes: 0 all are in the index, 3 some are not, 1 failed.
    """
    from lmm_classifier.cli.console import print_skipped
    from lmm_classifier.cli.edit_output import ORIGIN, print_edit
    from lmm_classifier.cli.image_sources import ImageSources
    from lmm_classifier.index.build.editor import IndexEditor

    if follow_links:
        config.images.follow_links = follow_links
    sources = ImageSources()
    sources.add([named_dataset(name, None, image_from, None, split_from, split) for name in images], config.images)
    sources.require_any()
    path = index or config.retrieval.index_path
    code = print_edit(path, IndexEditor(path, config).add(sources.paths, label, note=note, origin=ORIGIN), as_json)
    print_skipped(sources.skipped)
    return code or (3 if any(file.failed for file in sources.skipped) else 0)
