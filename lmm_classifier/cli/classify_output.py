"""What `classify` writes, by its options."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import typer

from lmm_classifier.cli.result_output import ResultOutput
from lmm_classifier.cli.whole_result_output import WholeResultOutput
from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.files import require_place
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.integrations.exports.export_options import ExportOptions
from lmm_classifier.integrations.exports.result_export import RESULT_FORMATS, ResultExport
from lmm_classifier.pipeline.stages.answer_options import AnswerOptions

AnyOutput = ResultOutput | WholeResultOutput


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the results hold in addition."""

    all_labels: bool
    vectors: bool
    images: bool
    url_prefix: str | None

    @property
    def answers(self) -> AnswerOptions:
        """Return what the classifier is asked for."""
        return AnswerOptions(all_labels=self.all_labels, vector=self.vectors)

    def require_for(self, chosen: str, server: str | None) -> None:
        """Raise BadParameter where an option does not belong to the format, or to a server."""
        if self.all_labels and chosen not in ("jsonl", "parquet"):
            raise typer.BadParameter("--all-labels needs --format jsonl or parquet.")
        if (self.vectors or self.images) and chosen != "parquet":
            raise typer.BadParameter("--with-vectors and --with-images need --format parquet.")
        if self.url_prefix is not None and chosen != "label-studio":
            raise typer.BadParameter("--url-prefix needs --format label-studio.")
        if server is not None and (self.all_labels or self.vectors):
            raise typer.BadParameter("--server excludes --all-labels and --with-vectors.")


def chosen_output(
    output: Path | None,
    chosen: str,
    resume: bool,
    overwrite: bool,
    wanted: Wanted,
    others: tuple[Path | None, ...],
    limits: ImageLimits,
) -> AnyOutput:
    """Return the output of a format; raise where it cannot be written at the end of a long run.

    Args:
        output: the file or folder; None is standard output.
        chosen: the format.
        resume: continue the file.
        overwrite: replace it.
        wanted: what the results hold in addition.
        others: other files that the run writes.
        limits: the largest image to read.
    """
    if (resume or overwrite) and output is None:
        raise typer.BadParameter("--resume and --overwrite are about the file of --output, which is not given.")
    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite exclude each other.")
    if chosen not in RESULT_FORMATS:
        require_place(output, *others)
        return ResultOutput(output, chosen, resume, overwrite)
    if output is None:
        raise typer.BadParameter(f"--format {chosen} needs --output.")
    if resume:
        raise typer.BadParameter(f"--resume needs --format jsonl or csv: {chosen} is written as a whole.")
    require_place(*others)
    if any(os.path.realpath(other) == os.path.realpath(output) for other in others if other is not None):
        raise OutputError(f"Cannot write two outputs to {output}. Give each a file of its own.")
    options = ExportOptions(wanted.images, wanted.url_prefix, overwrite=overwrite)
    return WholeResultOutput(ResultExport(output, chosen, options), limits)
