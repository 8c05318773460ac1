"""The command `discover`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.dataset_options import ImageFromOption, SplitFromOption, SplitOption
from lmm_classifier.cli.options import FollowLinksOption, IndexOption
from lmm_classifier.cli.unlabeled_sources import UnlabeledArgument

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig


class DiscoveryFormat(StrEnum):
    """How proposals are written."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


def discover(
    images: UnlabeledArgument,
    index: IndexOption = None,
    groups: Annotated[int | None, typer.Option(min=1, help="Groups to look for. [default: estimated]")] = None,
    output_format: Annotated[
        DiscoveryFormat, typer.Option("--format", help="How proposals are written; jsonl has one group a line.")
    ] = DiscoveryFormat.TABLE,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page that shows the groups.")] = None,
    copy_to: Annotated[
        Path | None, typer.Option(help="Copy each group into a folder of its own here, to name it.")
    ] = None,
    follow_links: FollowLinksOption = None,
    image_from: ImageFromOption = None,
    split_from: SplitFromOption = None,
    split: SplitOption = None,
    *,
    config: PipelineConfig,
) -> int:
    """Propose new labels among unlabeled images.

    Groups of images that no label of the index explains are shown, each with images from its center to its rim.
    Name a group, and add it.

    Exit codes: 0 done, 3 some files could not be read or were skipped, 1 failed.
    """
    from lmm_classifier.cli.console import command_progress, escape_for_terminal, print_skipped
    from lmm_classifier.cli.discovery_output import copy_groups, text_of
    from lmm_classifier.cli.quiet import write_note
    from lmm_classifier.cli.suggestion_output import counted, write_text
    from lmm_classifier.cli.unlabeled_sources import unlabeled_sources
    from lmm_classifier.core.files import require_place
    from lmm_classifier.data.label_folders import LabelFolders
    from lmm_classifier.discovery.proposals.discover import discover as discover_labels
    from lmm_classifier.discovery.proposals.page import write_discovery_page
    from lmm_classifier.discovery.unlabeled import UnlabeledImages
    from lmm_classifier.pipeline.classifier import HybridClassifier

    if index is not None:
        config.retrieval.index_path = index
    config.rerank.enabled = False  # it is never asked here, and may be a large model
    if follow_links:
        config.images.follow_links = follow_links
    require_place(output, html)
    folders = LabelFolders(copy_to, "copy") if copy_to is not None else None
    sources = unlabeled_sources(images, image_from, split_from, split, config)
    with command_progress() as show, HybridClassifier(config) as classifier:
        found = discover_labels(UnlabeledImages.of(sources.paths, classifier, show), classifier, groups)
    write_text(text_of(found, output_format.value), output)
    if html is not None:
        write_discovery_page(html, found, config.images.limits)
    write_note(counted(found.images, found.found, found.labeled, found.sampled_out))
    skipped = [*sources.skipped, *found.skipped]
    if folders is not None:
        for line in copy_groups(found, folders, config.retrieval.index_path):
            write_note(escape_for_terminal(line))
        skipped += folders.problems
    print_skipped(skipped)
    return 3 if any(file.failed for file in skipped) else 0
