"""The unlabeled images that `suggest` and `discover` are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.completion import complete_place
from lmm_classifier.cli.dataset_options import SOURCES, named_dataset

if TYPE_CHECKING:
    from lmm_classifier.cli.image_sources import ImageSources
    from lmm_classifier.config import PipelineConfig

UnlabeledArgument = Annotated[
    list[str],
    typer.Argument(
        help=f"Image files, and datasets, whose labels are ignored: {SOURCES}.", autocompletion=complete_place
    ),
]


def unlabeled_sources(
    images: list[str], image_from: str | None, split_from: str | None, split: str | None, config: PipelineConfig
) -> ImageSources:
    """Find the images; raise DatasetError where there is none."""
    from lmm_classifier.cli.image_sources import ImageSources

    sources = ImageSources()
    sources.add([named_dataset(name, None, image_from, None, split_from, split) for name in images], config.images)
    sources.require_any()
    return sources
