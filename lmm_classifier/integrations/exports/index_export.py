"""Write the examples of an index for another program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import IndexFileError, OutputError
from lmm_classifier.core.index_location import index_location
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.progress import ProgressCallback, Skipped
from lmm_classifier.data.label_folders import Action, LabelFolders
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.index.vector_index import Index
from lmm_classifier.integrations.exports.cleanlab import export_cleanlab
from lmm_classifier.integrations.exports.example_tables import export_csv, export_parquet
from lmm_classifier.integrations.exports.export_options import NO_OPTIONS, ExportOptions
from lmm_classifier.integrations.exports.fiftyone import fiftyone_images
from lmm_classifier.integrations.exports.held_out import label_probabilities
from lmm_classifier.integrations.exports.image_access import NO_URL
from lmm_classifier.integrations.exports.label_studio import label_studio_tasks

IndexFormat = Literal["folder", "csv", "parquet", "cleanlab", "label-studio", "fiftyone"]
INDEX_FORMATS: tuple[IndexFormat, ...] = ("folder", "csv", "parquet", "cleanlab", "label-studio", "fiftyone")
_OF_IMAGES = ("folder", "label-studio", "fiftyone")


@dataclass(frozen=True, slots=True)
class ExportReport:
    """Report of an export; it is read-only.

    Example:
        >>> from lmm_classifier import PipelineConfig, export_index
        >>> report = export_index("index", "examples.csv", "csv", PipelineConfig.offline())
        >>> report.skipped, report.folders
        ((), {})
    """

    output: str
    examples: int
    """Number of examples of the index."""
    skipped: tuple[Skipped, ...] = ()
    """Examples that are not in the export, or whose image is not, with reasons."""
    folders: dict[str, str] = field(default_factory=dict)
    """Of an export to folders: the name of the folder of each label, which differs where no folder can have it."""
    counts: dict[str, int] = field(default_factory=dict)
    """Of an export to folders: what was done, such as `copied` or `already there`."""


@dataclass(frozen=True)
class _Export:
    indexes: Sequence[Index]
    config: PipelineConfig
    output: Path
    options: ExportOptions
    progress: ProgressCallback | None

    def folder(self) -> ExportReport:
        action: Action = "link" if self.options.link else "copy"
        folders = LabelFolders(self.output, action, self.config.images.limits)
        contents = self.indexes[0].contents
        for path, label, content_hash in zip(contents.paths, contents.labels, contents.hashes):
            folders.place(contents.file_of(path), label, content_hash)
        names = {label: folder.name for label, folder in folders.folders.items()}
        return self._report(folders.problems, names, dict(folders.counts))

    def csv(self) -> ExportReport:
        export_csv(self.indexes[0].contents, self.output, self.options.overwrite)
        return self._report()

    def parquet(self) -> ExportReport:
        limits = self.config.images.limits
        contents = self.indexes[0].contents
        return self._report(
            export_parquet(contents, self.output, limits, self.options.with_images, self.options.overwrite)
        )

    def cleanlab(self) -> ExportReport:
        return self._report(
            export_cleanlab(self.indexes, self.config, self.output, self.options.overwrite, self.progress)
        )

    def label_studio(self) -> ExportReport:
        index = self.indexes[0]
        labels = list(index.label_names)
        with label_studio_tasks(self.output, labels, self.options.url_prefix, self.options.overwrite) as tasks:
            probabilities = label_probabilities(self.indexes, self.config, self.progress)
            for row, example in enumerate(index.examples):
                tasks.add_example(example, index.contents.file_of(example.path), probabilities.get(row))
        return self._report()

    def fiftyone(self) -> ExportReport:
        index, limits = self.indexes[0], self.config.images.limits
        with fiftyone_images(self.output, index.label_names, limits, self.options.overwrite) as images:
            probabilities = label_probabilities(self.indexes, self.config, self.progress)
            for row, example in enumerate(index.examples):
                place = index.contents.file_of(example.path)
                images.add_example(example, place, index.hashes[row], probabilities.get(row))
        return self._report(images.problems)

    def _report(
        self,
        problems: Sequence[Skipped] = (),
        folders: dict[str, str] | None = None,
        counts: dict[str, int] | None = None,
    ) -> ExportReport:
        return ExportReport(str(self.output), len(self.indexes[0]), tuple(problems), folders or {}, counts or {})


def export_index(
    index_path: Path | str,
    output: Path | str,
    to: IndexFormat,
    config: PipelineConfig | None = None,
    options: ExportOptions = NO_OPTIONS,
    progress: ProgressCallback | None = None,
) -> ExportReport:
    """Write the examples of an index for another program.

    Each example is there once, under its id, and the index is only read. A file or a folder of files appears when it is
    complete. Folders of images are filled one by one instead, and doing it again changes nothing.

    Args:
        index_path: an index of either form.
        output: a file for `csv`, `parquet` and `label-studio`, a folder for the others.
        to: `folder` for images in folders by label, `csv` for a manifest, `parquet` for a table with vectors,
            `cleanlab` for arrays, `label-studio` for tasks, `fiftyone` for a dataset.
        config: says by which rule examples are held out; by default `PipelineConfig()`. No encoder is opened.
        options: what the export holds in addition, and whether it replaces an earlier one.
        progress: called while examples are held out.

    Raises:
        IndexFileError: there is no sound index, or it was made from vectors and images are wanted.
        OutputError: the output exists, cannot be written, or an option does not belong to it.
        CalibrationError: cleanlab is asked for, but nothing can be held out.
        MissingExtraError: pyarrow is not installed.

    Example:
        >>> from lmm_classifier import PipelineConfig, export_index
        >>> report = export_index("index", "by-label", "folder", PipelineConfig.offline())
        >>> report.counts["copied"] == report.examples
        True
    """
    if to not in INDEX_FORMATS:
        raise OutputError(f"The format is {to!r}. Expected {', '.join(INDEX_FORMATS)}.")
    options.require_for(to)
    indexes = Index.open_each(index_location(index_path))
    if (to in _OF_IMAGES or options.with_images) and not indexes[0].manifest.has_images:
        raise IndexFileError(
            f"{index_path} was made from vectors and has no images. Expected csv, parquet or cleanlab."
        )
    if to == "label-studio" and DatasetSpec.from_stored(indexes[0].manifest.image_root).has_boxes:
        raise OutputError(f"The examples of {index_path} are boxes. {NO_URL}")
    export = _Export(indexes, config or PipelineConfig(), expand_home(output), options, progress)
    formats: dict[str, Callable[[], ExportReport]] = {
        "folder": export.folder,
        "csv": export.csv,
        "parquet": export.parquet,
        "cleanlab": export.cleanlab,
        "label-studio": export.label_studio,
        "fiftyone": export.fiftyone,
    }
    return formats[to]()
