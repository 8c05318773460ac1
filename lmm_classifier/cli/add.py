"""The command `add`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.completion import complete_place
from lmm_classifier.cli.dataset_options import (
    SOURCES,
    ImageFromOption,
    LabelFromOption,
    SplitFromOption,
    SplitOption,
    named_dataset,
)
from lmm_classifier.cli.options import FollowLinksOption, IndexOption, JsonFlag, NoteOption

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.core.progress import Skipped
    from lmm_classifier.data.places import Place
    from lmm_classifier.data.readers.dataset_spec import DatasetSpec


def add(
    images: Annotated[
        list[str],
        typer.Argument(
            help=f"Image files, and datasets: {SOURCES}.",
            autocompletion=complete_place,
        ),
    ],
    label: Annotated[
        str | None,
        typer.Option(help="The label of all of them. [default: that of each in its dataset]", show_default=False),
    ] = None,
    index: IndexOption = None,
    note: NoteOption = "",
    as_json: JsonFlag = False,
    follow_links: FollowLinksOption = None,
    label_from: LabelFromOption = None,
    image_from: ImageFromOption = None,
    split_from: SplitFromOption = None,
    split: SplitOption = None,
    *,
    config: PipelineConfig,
) -> int:
    """Add images to an index: of one label, or of labeled datasets.

    They count from the next classified image on. What is no file in the folder of the dataset is copied into the index.

    Exit codes: 0 all are in the index, 3 some are not, 1 failed.
    """
    from lmm_classifier.cli.console import escape_for_terminal, print_skipped
    from lmm_classifier.cli.edit_output import ORIGIN, print_edit
    from lmm_classifier.cli.quiet import write_note
    from lmm_classifier.index.build.editor import IndexEditor

    if follow_links:
        config.images.follow_links = follow_links
    if label is not None and label_from is not None:
        raise typer.BadParameter("--label and --label-from exclude each other.")
    specs = [named_dataset(name, label_from, image_from, None, split_from, split) for name in images]
    chosen = _of_datasets(specs, config) if label is None else _of_label(specs, label, config)
    for warning in chosen.warnings:
        write_note(f"warning: {escape_for_terminal(warning)}")
    path = index or config.retrieval.index_path
    report = IndexEditor(path, config).add(chosen.places, chosen.labels, note=note, origin=ORIGIN)
    code = print_edit(path, report, as_json)
    print_skipped(chosen.skipped)
    return code or (3 if any(file.failed for file in chosen.skipped) else 0)


@dataclass
class _Chosen:
    """The images to add with their labels, and what was skipped of the sources."""

    places: list[Place] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _of_label(specs: list[DatasetSpec], label: str, config: PipelineConfig) -> _Chosen:
    """Return all images of the sources under one label; a warning names sources that have labels."""
    from lmm_classifier.cli.image_sources import ImageSources

    sources = ImageSources()
    sources.add(specs, config.images)
    sources.require_any()
    warnings = [*sources.warnings, *_overridden(specs, label, config)]
    return _Chosen(sources.paths, [label] * len(sources.paths), sources.skipped, warnings)


def _overridden(specs: list[DatasetSpec], label: str, config: PipelineConfig) -> Iterator[str]:
    """Yield a warning for each source that has other labels by itself; folders often have any names."""
    from lmm_classifier.core.errors import DatasetError
    from lmm_classifier.data.readers.opening import has_label_fields, open_dataset

    for spec in filter(has_label_fields, specs):
        with suppress(DatasetError):  # none of its images has a label
            others = {example.label for example in open_dataset(spec, config.images).examples} - {label}
            if others:
                yield f"all images of {spec.source} get the label {label!r}, not their own: leave --label out for those"


def _of_datasets(specs: list[DatasetSpec], config: PipelineConfig) -> _Chosen:
    """Return the labeled images of the sources."""
    from lmm_classifier.data.readers.opening import is_one_image, open_dataset

    chosen = _Chosen()
    for spec in specs:
        if is_one_image(spec.source):
            raise typer.BadParameter(f"--label is missing: {spec.source} is an image, which has no label by itself.")
        dataset = open_dataset(spec, config.images)
        chosen.places += [dataset.root / example.path for example in dataset.examples]
        chosen.labels += [example.label for example in dataset.examples]
        chosen.skipped += [replace(file, path=f"{spec.source}/{file.path}") for file in dataset.skipped]
        chosen.warnings += dataset.warnings
    return chosen
