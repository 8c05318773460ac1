"""Write the results of a run for another program: a table in Parquet, tasks of Label Studio, or images of FiftyOne."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.optional_imports import require_optional
from lmm_classifier.core.paths import expand_home
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place
from lmm_classifier.integrations.exports.export_options import NO_OPTIONS, ExportOptions
from lmm_classifier.integrations.exports.fiftyone import DATA, LABELS, fiftyone_images
from lmm_classifier.integrations.exports.label_studio import label_studio_tasks, require_new_tasks
from lmm_classifier.integrations.exports.new_file import require_new_file
from lmm_classifier.integrations.exports.new_folder import require_new_folder
from lmm_classifier.integrations.exports.parquet import MAGIC
from lmm_classifier.integrations.exports.parquet_results import parquet_results

ResultFormat = Literal["parquet", "label-studio", "fiftyone"]
RESULT_FORMATS: tuple[ResultFormat, ...] = ("parquet", "label-studio", "fiftyone")


class ResultWriter(Protocol):
    """Writes results one by one."""

    def write(self, result: Classification, place: Place | None = None, run: str = "") -> None:
        """Write one result; `place` is the image where its path does not name a file."""


@dataclass(frozen=True, slots=True)
class ResultExport:
    """Where and how results are written.

    Raises:
        OutputError: options do not belong to the format, or the output exists and is not to be overwritten.
    """

    output: Path
    format: ResultFormat
    options: ExportOptions = NO_OPTIONS

    def __post_init__(self) -> None:
        if self.format not in RESULT_FORMATS:
            raise OutputError(f"The format is {self.format!r}. Expected {', '.join(RESULT_FORMATS)}.")
        self.options.require_for(self.format)
        if self.format == "fiftyone":
            require_new_folder(self.output, (LABELS, DATA), self.options.overwrite)
        elif self.format == "label-studio":
            require_new_tasks(self.output, self.options.overwrite)
        else:
            require_optional("pyarrow", "parquet")  # before a long run
            require_new_file(self.output, MAGIC, self.options.overwrite)

    def opened(self, labels: Collection[str], limits: ImageLimits) -> AbstractContextManager[ResultWriter]:
        """Return what writes the results; the output appears when its block ends without an error.

        Args:
            labels: those that the index has.
            limits: the largest image to read.
        """
        if self.format == "parquet":
            return parquet_results(self.output, limits, self.options.with_images, self.options.overwrite)
        if self.format == "label-studio":
            return label_studio_tasks(self.output, labels, self.options.url_prefix, self.options.overwrite)
        return fiftyone_images(self.output, labels, limits, self.options.overwrite)


def write_results(
    results: Iterable[Classification],
    output: Path | str,
    to: ResultFormat,
    labels: Collection[str] = (),
    options: ExportOptions = NO_OPTIONS,
) -> int:
    """Write results for another program, and return their number.

    The results are taken one by one, and the output appears when all are written. An image that is unknown or cannot be
    read is there too: with its reason in Parquet and FiftyOne, as a task without a prediction in Label Studio.

    Args:
        results: what a classifier returns, with the paths of the images.
        output: a file; for FiftyOne a folder. Label Studio's tasks get a second file, with the ending `.xml`.
        to: `parquet`, `label-studio` or `fiftyone`.
        labels: all that may be chosen in Label Studio and FiftyOne; those of the results are added.
        options: what the export holds in addition, and whether it replaces an earlier one.

    Raises:
        OutputError: the output exists, cannot be written, or an option does not belong to it.
        MissingExtraError: pyarrow is not installed.

    Example:
        >>> from pathlib import Path
        >>> from lmm_classifier import HybridClassifier, PipelineConfig, write_results
        >>> images = sorted(Path("new").glob("*.png"))[:3]
        >>> with HybridClassifier(PipelineConfig.offline()) as classifier:
        ...     write_results(classifier.classify_paths(images), "tasks.json", "label-studio")
        3
        >>> Path("tasks.xml").read_text().splitlines()[0]
        '<View>'
    """
    export = ResultExport(expand_home(output), to, options)
    count = 0
    with export.opened(labels, ImageLimits()) as writer:
        for count, result in enumerate(results, start=1):  # noqa: B007 - it is returned
            writer.write(result)
    return count
