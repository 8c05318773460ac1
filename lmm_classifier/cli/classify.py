"""The command `classify`."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.completion import complete_place
from lmm_classifier.cli.dataset_options import SOURCES, ImageFromOption, SplitFromOption, SplitOption, named_dataset
from lmm_classifier.cli.engine_options import (
    ActorGpusOption,
    ActorsOption,
    AddressOption,
    EngineOption,
    WorkOption,
    chosen_engine,
    with_work,
)
from lmm_classifier.cli.options import FollowLinksOption, IdColumnOption, IndexOption, VectorColumnOption, only_one

if TYPE_CHECKING:
    from collections import Counter

    from lmm_classifier.cli.classify_output import AnyOutput, Wanted
    from lmm_classifier.cli.image_sources import ImageSources
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.data.label_folders import LabelFolders
    from lmm_classifier.data.limits import ImageLimits
    from lmm_classifier.data.readers.dataset_spec import DatasetSpec
    from lmm_classifier.distributed.engines.choice import EngineChoice


class Format(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    LABEL_STUDIO = "label-studio"
    FIFTYONE = "fiftyone"


def classify(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"Image files, and datasets: {SOURCES}; - reads one image from standard input.",
            autocompletion=complete_place,
        ),
    ] = None,
    index: IndexOption = None,
    output_format: Annotated[
        Format | None, typer.Option("--format", help="How results are written. [default: by the name of --output]")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Append each result to this file as soon as it is there. parquet, label-studio and fiftyone, which is "
            "a folder, appear when the run is done."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the file of --output; skip what it holds.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of --output.")] = False,
    files_from: Annotated[
        Path | None, typer.Option(help="Read the names of images from this list, one a line; - is standard input.")
    ] = None,
    null: Annotated[
        bool, typer.Option("--null", "-0", help="The names in the list end with NUL, as from find -print0.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with the least certain images of the run.")] = None,
    copy_to: Annotated[Path | None, typer.Option(help="Copy the images into this folder, by label.")] = None,
    link_to: Annotated[Path | None, typer.Option(help="Make links in this folder, by label.")] = None,
    move: Annotated[bool, typer.Option("--move", help="Move the images to --copy-to instead of copying them.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write counts and all skipped files to this JSON file.")] = None,
    drift: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Test whether the images change over time; the file continues the test of former runs."
        ),
    ] = None,
    learn_from: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGES",
            help="Experiment: let these unlabeled images help to fit the metric, where there are few examples.",
            autocompletion=complete_place,
        ),
    ] = None,
    estimate_priors: Annotated[
        bool,
        typer.Option(
            "--estimate-priors", help="Estimate how frequent each label is among the images; each is encoded twice."
        ),
    ] = False,
    follow_links: FollowLinksOption = None,
    vectors: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Classify vectors instead of images: .parquet, a folder of them, or .npy."),
    ] = None,
    vector_column: VectorColumnOption = None,
    id_column: IdColumnOption = None,
    fail_on_unknown: Annotated[bool, typer.Option("--fail-on-unknown", help="Exit with 4 if any is unknown.")] = False,
    leave_out_identical: Annotated[
        bool,
        typer.Option(
            "--leave-out-identical",
            help="Ignore examples with the same content as the query. New images are harder: the metric knows it.",
        ),
    ] = False,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Ask a server of `serve`; its index and settings count.")
    ] = None,
    all_labels: Annotated[
        bool, typer.Option("--all-labels", help="jsonl, parquet: add the probability of every label.")
    ] = False,
    with_vectors: Annotated[
        bool, typer.Option("--with-vectors", help="parquet: add the vector of each image.")
    ] = False,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="parquet: add the bytes of the image files.")
    ] = False,
    url_prefix: Annotated[
        str | None,
        typer.Option(metavar="URL", help="label-studio: what makes a URL of a path. [default: files of its machine]"),
    ] = None,
    image_from: ImageFromOption = None,
    split_from: SplitFromOption = None,
    split: SplitOption = None,
    engine: EngineOption = "local",
    address: AddressOption = None,
    actors: ActorsOption = None,
    actor_gpus: ActorGpusOption = 0.0,
    work: WorkOption = None,
    *,
    config: PipelineConfig,
) -> int:
    """Classify images by the examples of an index.

    Exit codes: 0 done, 3 some files could not be read or were skipped, 4 some are unknown (with --fail-on-unknown),
    1 failed, 2 wrong usage, 130 interrupted by Ctrl-C, 143 ended by SIGTERM.
    """
    from lmm_classifier.cli.classify_output import Wanted, chosen_output
    from lmm_classifier.cli.classify_run import ClassifyRun
    from lmm_classifier.cli.excluded_options import OF_SERVER, OF_VECTORS, require_none

    if index is not None:
        config.retrieval.index_path = index
    if follow_links:
        config.images.follow_links = follow_links
    if server is not None:
        local = (index, html, drift, learn_from, estimate_priors, leave_out_identical)
        require_none("--server", OF_SERVER, dict(zip(OF_SERVER, local, strict=True)))
    workers = _workers((engine, address, actors, actor_gpus), work, (server, vectors, learn_from, estimate_priors))
    chosen = (output_format or _format_of(output)).value
    wanted = Wanted(all_labels, with_vectors, with_images, url_prefix)
    wanted.require_for(chosen, server)
    outputs = (html, report, drift)
    results = chosen_output(output, chosen, resume, overwrite, wanted, outputs, config.images.limits)
    if (given := only_one(vectors, "--vectors")) is not None:
        of_files = (images, files_from, html, copy_to, link_to, move, report, server, learn_from, estimate_priors)
        formats = (chosen == "label-studio", chosen == "fiftyone")
        others = (*of_files, leave_out_identical, resume, with_images, *formats)
        require_none("--vectors", OF_VECTORS, dict(zip(OF_VECTORS, others, strict=True)))
        counts = _classify_vectors(given, (vector_column, id_column), results, config, wanted, drift)
        return 4 if fail_on_unknown and counts["unknown"] else 0
    with ExitStack() as stack:
        named = [named_dataset(name, None, image_from, None, split_from, split) for name in images or []]
        sources = _sources(named, files_from, null, config, copy_to or link_to, stack)
        if resume and move and output is not None and output.is_file():  # a former run may have moved all
            sources.accept_empty_folders()
        else:
            sources.require_any()
        unlabeled = _unlabeled(learn_from, config) if learn_from else None
        sorter = _sorter(copy_to, link_to, move, config.images.limits)
        run = ClassifyRun(sources, results, sorter, html, wanted.answers, drift, unlabeled, estimate_priors, workers)
        counts = run.run(config, leave_out_identical, server)
    if report is not None:
        run.write_report(report)
    if counts["unreadable"] or any(file.failed for file in run.skipped):
        return 3
    return 4 if fail_on_unknown and counts["unknown"] else 0


def _workers(
    given: tuple[str, str | None, int | None, float], work: str | None, others: tuple[object, ...]
) -> EngineChoice | None:
    from lmm_classifier.cli.excluded_options import OF_ENGINE, require_none

    workers = with_work(chosen_engine(*given), work)
    if workers is not None:
        require_none("--engine", OF_ENGINE, dict(zip(OF_ENGINE, others, strict=True)))
    return workers


def _classify_vectors(
    file: Path,
    columns: tuple[str | None, str | None],
    results: AnyOutput,
    config: PipelineConfig,
    wanted: Wanted,
    drift: Path | None,
) -> Counter[str]:
    from lmm_classifier.cli.given_vectors import classify_vectors
    from lmm_classifier.data.vectors.named_vectors import VectorColumns

    vector, path = columns
    return classify_vectors(file, VectorColumns(vector, None, path), results, config, wanted.answers, drift)


_ENDINGS = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
    ".txt": Format.TABLE,
    ".parquet": Format.PARQUET,
}


def _format_of(output: Path | None) -> Format:
    """Return the format that the name of a file asks for; a name without an ending, or standard output, is a table."""
    ending = output.suffix.lower() if output is not None else ""
    if not ending:
        return Format.TABLE
    if ending not in _ENDINGS:
        raise typer.BadParameter(
            f"The format of {output} is not known by its ending. Expected {', '.join(_ENDINGS)}, or --format."
        )
    return _ENDINGS[ending]


def _sources(
    images: list[DatasetSpec],
    files_from: Path | None,
    null: bool,
    config: PipelineConfig,
    target: Path | None,
    stack: ExitStack,
) -> ImageSources:
    """Collect the images; standard input is read at once, and its temporary file is removed with `stack`."""
    from lmm_classifier.cli.image_sources import STDIN, ImageSources, read_list, standard_input
    from lmm_classifier.core.errors import DatasetError
    from lmm_classifier.data.readers.dataset_spec import DatasetSpec
    from lmm_classifier.data.vectors.parquet_vectors import has_vector_column

    if not images and files_from is None:
        raise typer.BadParameter(
            "No image is named. Name files or folders, - for standard input, or a list with --files-from."
        )
    if null and files_from is None:
        raise typer.BadParameter("--null is about the list of --files-from, which is not given.")
    has_stdin = any(name.source == str(STDIN) for name in images)
    if files_from == STDIN and has_stdin:
        raise typer.BadParameter("Standard input can be the list of files or an image, not both.")
    sources = ImageSources()
    if has_stdin:
        sources.stdin = stack.enter_context(standard_input(config.images.max_bytes))
        images = [DatasetSpec(str(sources.stdin)) if name.source == str(STDIN) else name for name in images]
    try:
        sources.add(images, config.images, target)
    except DatasetError as error:
        if any(has_vector_column(Path(name.source)) for name in images):
            raise DatasetError(f"{error} It has a column of vectors. Did you mean --vectors?") from error
        raise
    if files_from is not None:
        sources.is_list = True
        sources.add(read_list(files_from, null), config.images, target, literal=True)
    return sources


def _unlabeled(source: str, config: PipelineConfig) -> ImageSources:
    from lmm_classifier.cli.image_sources import STDIN, ImageSources

    if source == str(STDIN):
        raise typer.BadParameter("--learn-from takes a folder or another dataset, not standard input.")
    sources = ImageSources()
    sources.add([named_dataset(source)], config.images)
    sources.require_any()
    return sources


def _sorter(copy_to: Path | None, link_to: Path | None, move: bool, limits: ImageLimits) -> LabelFolders | None:
    from lmm_classifier.data.label_folders import LabelFolders

    if copy_to is not None and link_to is not None:
        raise typer.BadParameter("--copy-to and --link-to exclude each other.")
    if move and copy_to is None:
        raise typer.BadParameter("--move moves the images to the folder of --copy-to, which is not given.")
    if link_to is not None:
        return LabelFolders(link_to, "link", limits)
    return LabelFolders(copy_to, "move" if move else "copy", limits) if copy_to is not None else None
