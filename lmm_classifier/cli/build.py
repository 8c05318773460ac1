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
from lmm_classifier.cli.engine_options import (
    ActorGpusOption,
    ActorsOption,
    AddressOption,
    ChunkImagesOption,
    EngineOption,
    chosen_engine,
)
from lmm_classifier.cli.options import FollowLinksOption, ReplaceFlag

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.data.readers.dataset_spec import DatasetSpec
    from lmm_classifier.distributed.engines.choice import EngineChoice
    from lmm_classifier.index.build.reports import BuildReport


def build(
    dataset: Annotated[
        str,
        typer.Argument(
            help=f"Labeled images, such as DATASET/<label>/**/*.jpg: {SOURCES}.", autocompletion=complete_place
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|URL",
            help="Index to write: NAME.npz, a folder, or with an engine a folder or URL. [default: "
            "retrieval.index_path]",
        ),
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
    engine: EngineOption = "local",
    address: AddressOption = None,
    actors: ActorsOption = None,
    actor_gpus: ActorGpusOption = 0.0,
    chunk_images: ChunkImagesOption = None,
    *,
    config: PipelineConfig,
) -> int:
    """Build an index from a folder of labeled images, or from any other dataset.

    With --engine ray the index is a table, in a folder or on an object store, and many workers encode. The same command
    resumes it, and brings it up to date.

    Exit codes: 0 all images indexed, 3 some images skipped, 1 failed.
    """
    from lmm_classifier.core.index_location import index_location

    if follow_links:
        config.images.follow_links = follow_links
    spec = named_dataset(dataset, label_from, image_from, group_from, split_from, split)
    choice = chosen_engine(engine, address, actors, actor_gpus, chunk_images)
    place = index_location(output) if output else config.retrieval.index_path
    if choice is None:
        if isinstance(place, str):
            raise typer.BadParameter(f"{place} is a URL, where a table is. Add --engine processes, or --engine ray.")
        return run_build(spec, place, batch_size, config, report, replace)
    if replace:
        raise typer.BadParameter("--replace is for the engine local. Choose another output for another dataset.")
    if batch_size:
        config.set(f"encoder.batch_size={batch_size}")
    return run_table_build(spec, place, config, report, choice, chunk_images)


def run_table_build(
    dataset: DatasetSpec,
    output: Path | str,
    config: PipelineConfig,
    report_path: Path | None,
    choice: EngineChoice,
    chunk_images: int | None,
) -> int:
    """Build a table by an engine with a progress bar and a closing table; return the exit code."""
    from lmm_classifier.cli.console import command_progress, show_report
    from lmm_classifier.cli.interruption import told_if_interrupted
    from lmm_classifier.core.files import require_place
    from lmm_classifier.distributed.build import TableBuild
    from lmm_classifier.distributed.chunks import MOST_FILES
    from lmm_classifier.index.settings.remembered import config_of_index

    require_place(report_path)
    config = config_of_index(output, config)
    build = TableBuild(dataset, str(output), config, choice.open(), chunk_images or MOST_FILES, choice.threads())
    with (
        told_if_interrupted(lambda: f"Interrupted. {build.state()} Run the same command again to go on."),
        command_progress() as show,
    ):
        result = build.run(show)
    show_report(result)
    _write_report(result, report_path)
    return 3 if result.failed else 0


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
    from lmm_classifier.core.files import require_place
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
    _write_report(report, report_path)
    return 3 if report.failed else 0


def _write_report(report: BuildReport, path: Path | None) -> None:
    from lmm_classifier.core.files import atomic_write

    if path is not None:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="ascii")
