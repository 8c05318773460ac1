"""The command `suggest`."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.dataset_options import ImageFromOption, SplitFromOption, SplitOption
from lmm_classifier.cli.options import FollowLinksOption, IndexOption
from lmm_classifier.cli.unlabeled_sources import UnlabeledArgument

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


class SuggestionFormat(StrEnum):
    """How suggestions are written."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"
    LABEL_STUDIO = "label-studio"


class Weight(StrEnum):
    """By what images are weighed."""

    ALL = "all"
    NEW = "new"
    AMBIGUOUS = "ambiguous"
    COLD_START = "cold_start"


def suggest(
    images: UnlabeledArgument,
    index: IndexOption = None,
    count: Annotated[int, typer.Option(min=1, help="Images to suggest.")] = 20,
    batch: Annotated[int | None, typer.Option(min=1, help="Images of a batch. [default: all of them]")] = None,
    by: Annotated[
        Weight,
        typer.Option(help="Weigh images that may be of a new label, images whose labels compete, or all images alike."),
    ] = Weight.ALL,
    output_format: Annotated[
        SuggestionFormat, typer.Option("--format", help="How suggestions are written.")
    ] = SuggestionFormat.TABLE,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
    url_prefix: Annotated[
        str | None,
        typer.Option(metavar="URL", help="label-studio: what makes a URL of a path. [default: files of its machine]"),
    ] = None,
    without_index: Annotated[
        bool, typer.Option("--without-index", help="No image has a label yet: suggest those that stand for most.")
    ] = False,
    follow_links: FollowLinksOption = None,
    image_from: ImageFromOption = None,
    split_from: SplitFromOption = None,
    split: SplitOption = None,
    *,
    config: PipelineConfig,
) -> int:
    """Suggest which images to label next.

    Each one stands for many images of which little is known, and which no example resembles.

    Exit codes: 0 done, 3 some files could not be read or were skipped, 1 failed.
    """
    from lmm_classifier.cli.console import command_progress, print_skipped
    from lmm_classifier.cli.suggestion_output import note, write_suggestions, write_tasks
    from lmm_classifier.cli.unlabeled_sources import unlabeled_sources
    from lmm_classifier.core.files import require_place
    from lmm_classifier.discovery.suggestions.first_labels import suggest_without_index
    from lmm_classifier.discovery.suggestions.options import SuggestionOptions
    from lmm_classifier.discovery.suggestions.suggest import suggest as suggest_images
    from lmm_classifier.discovery.unlabeled import UnlabeledImages
    from lmm_classifier.pipeline.classifier import HybridClassifier

    if without_index and (index is not None or by not in (Weight.ALL, Weight.COLD_START)):
        raise typer.BadParameter("--without-index excludes --index and other weights: no image has a label yet.")
    as_tasks = output_format == SuggestionFormat.LABEL_STUDIO
    _require_output_of_tasks(as_tasks, output, url_prefix)
    if index is not None:
        config.retrieval.index_path = index
    config.rerank.enabled = False  # it is never asked here, and may be a large model
    if follow_links:
        config.images.follow_links = follow_links
    require_place(output)
    labels: Sequence[str] = ()
    options = SuggestionOptions(count, batch, by.value)
    sources = unlabeled_sources(images, image_from, split_from, split, config)
    with command_progress() as show:
        if without_index:
            found = suggest_without_index(sources.paths, config, options, show)
        else:
            with HybridClassifier(config) as classifier:
                encoded = UnlabeledImages.of(sources.paths, classifier, show)
                found, labels = suggest_images(encoded, classifier, options), classifier.index.label_names
    if as_tasks and output is not None:
        write_tasks(found, labels, output, url_prefix)
    else:
        write_suggestions(found, output_format.value, output)
    note(found)
    skipped = [*sources.skipped, *found.skipped]
    print_skipped(skipped)
    return 3 if any(file.failed for file in skipped) else 0


def _require_output_of_tasks(as_tasks: bool, output: Path | None, url_prefix: str | None) -> None:
    if as_tasks and output is None:
        raise typer.BadParameter("--format label-studio needs --output.")
    if url_prefix is not None and not as_tasks:
        raise typer.BadParameter("--url-prefix needs --format label-studio.")
