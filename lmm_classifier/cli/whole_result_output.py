"""Results in the format of another program: the output appears when the run is done, and cannot be resumed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from lmm_classifier.cli.image_sources import STDIN
from lmm_classifier.cli.stored_results import StoredResults
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.places import Place
from lmm_classifier.integrations.exports.result_export import ResultExport, ResultWriter


class WholeResultOutput:
    """The output of one run of `classify`, for another program; it is used as a `ResultOutput` is."""

    def __init__(self, export: ResultExport, limits: ImageLimits) -> None:
        self.path: Path = export.output
        self.format: str = export.format
        self.written: int = 0
        self.stored: StoredResults = StoredResults()  # of no earlier run
        self.shows_progress: bool = False
        self.problems: list[Skipped] = []  # images that are not in the output
        self._export, self._limits = export, limits
        self._writer: ResultWriter | None = None
        self._run = ""
        self._is_whole = False

    @contextmanager
    def opened(
        self,
        run: str,
        labels: Collection[str] = (),
        has_levels: bool = False,  # noqa: ARG002 - of all outputs
    ) -> Iterator[None]:
        """Open the output for the results of a run with this identity, by an index with these labels."""
        self._run = run
        with self._export.opened(labels, self._limits) as self._writer:
            yield
            self.problems = getattr(self._writer, "problems", self.problems)
        self._is_whole = True

    def write(self, result: Classification, place: Place | None = None) -> None:
        """Write one result; raise OutputError where it is of standard input, and the format needs a file."""
        if self._writer is None:
            raise ValueError("expected an output that was opened")
        if result.path == str(STDIN) and self.format != "parquet":
            raise OutputError(f"Standard input has no file that {self.format} could show. Name the file.")
        self._writer.write(result, place, self._run)
        self.written += 1

    def state(self) -> str:
        """Return what is there, and what to do."""
        if self._is_whole:
            return f"{self.written} results are in {self.path}."
        return (
            f"{self.path} was not changed: {self.format} is written as a whole. With --format jsonl each result is "
            "stored at once, and --resume continues."
        )
