"""The command `build`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.completion import complete_place
from lmm_classifier.cli.dataset_options import (
    SOURCES,
    GroupFromOption,
    ImageFromOption,
    LabelFromOption,
    SplitFromOption,
    SplitOption,
    named_dataset,
)
from lmm_classifier.cli.options import FollowLinksOption, ReplaceFlag

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.data.readers.dataset_spec import DatasetSpec


def build(
    dataset: Annotated[
        str,
        typer.Argument(
            help=f"Labeled images, such as DATASET/<label>/**/*.jpg: {SOURCES}.", autocompletion=complete_place
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Index to write: NAME.npz, or a folder. [default: retrieval.index_path]")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Images per commit. [default: encoder.batch_size]")
    ] = None,
    follow_links: FollowLinksOption = None,
    report: Annotated[Path | None, typer.Option(help="Write what was indexed and skipped to this JSON file.")] = None,
    replace: ReplaceFlag = False,
    label_from: LabelFromOption = None,
    image_from: ImageFromOption = None,
    group_from: GroupFromOption = None,
    split_from: SplitFromOption = None,
    split: SplitOption = None,
    *,
    config: PipelineConfig,
) -> int:
    """Build an index from a folder of labeled images, or from any other dataset.

    Exit codes: 0 all images indexed, 3 some images skipped, 1 failed.
    """
    if follow_links:
        config.images.follow_links = follow_links
    spec = named_dataset(dataset, label_from, image_from, group_from, split_from, split)
    return run_build(spec, output, batch_size, config, report, replace)


def run_build(
    dataset: DatasetSpec,
    output: Path | None,
    batch_size: int | None,
    config: PipelineConfig,
    report_path: Path | None,
    replace: bool,
) -> int:
    """Build with a progress bar and a closing table; return the exit code."""
    from lmm_classifier.cli.console import command_progress, escape_for_terminal, resumable, show_report
    from lmm_classifier.cli.edit_output import stale_lines
    from lmm_classifier.cli.quiet import write_note
    from lmm_classifier.core.files import atomic_write, require_place
    from lmm_classifier.index.build.builder import build_index_from_directory
    from lmm_classifier.index.settings.remembered import config_of_index

    index = output or config.retrieval.index_path
    config = config_of_index(index, config)
    require_place(report_path)
    with resumable(index), command_progress() as show:
        size = batch_size or config.batch_size
        report = build_index_from_directory(dataset, index, size, config, show, replace=replace)
    show_report(report)
    if report.stale:
        write_note("\n".join(map(escape_for_terminal, stale_lines(report.stale))))
    if report_path is not None:
        with atomic_write(report_path) as temporary:
            temporary.write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="ascii")
    return 3 if report.failed else 0
