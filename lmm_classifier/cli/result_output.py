"""Where the results of a run go: to standard output, or appended to a file that a later run can continue."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from lmm_classifier.cli.stored_results import StoredResults
from lmm_classifier.cli.writers import HEADS, OF_LEVELS, RECORDS
from lmm_classifier.core.appended_file import AppendedFile, Mode
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.progress import Skipped
from lmm_classifier.data.places import Place
from lmm_classifier.pipeline.run_identity import same_settings

logger: logging.Logger = logging.getLogger(__name__)


class ResultOutput:
    """The output of one run of `classify`.

    Args:
        path: the file; None is standard output.
        output_format: `table`, `jsonl` or `csv`.
        resume: continue the file.
        overwrite: replace it.

    Raises:
        OutputError: the file holds something and is neither to be continued nor replaced, or cannot be continued.
    """

    def __init__(self, path: Path | None, output_format: str, resume: bool, overwrite: bool) -> None:
        self.path: Path | None = path
        self.format: str = output_format
        self.written: int = 0  # results of this run
        self.problems: list[Skipped] = []  # none: each result is there as soon as it is written
        self.stored: StoredResults = StoredResults()
        self._resume, self._overwrite = resume, overwrite
        self._file: AppendedFile | None = None
        self._run = ""
        if resume and output_format == "table":
            raise OutputError("A table cannot be resumed. Expected --format jsonl or --format csv.")
        if path is not None and not (resume or overwrite) and path.is_file() and path.stat().st_size:
            raise OutputError(f"{path} exists already. --resume continues it, --overwrite replaces it.")

    @contextmanager
    def opened(
        self,
        run: str,
        labels: Collection[str] = (),  # noqa: ARG002 - of all outputs
        has_levels: bool = False,
    ) -> Iterator[None]:
        """Open the output for the results of a run with this identity; read what the file holds where it is resumed.

        With `has_levels` a CSV file has columns for the levels of a hierarchy too.
        """
        if has_levels and self.format == "csv":
            self.format = OF_LEVELS
        if self.path is None:
            if hasattr(sys.stdout, "reconfigure"):
                sys.stdout.reconfigure(errors="surrogateescape")
            self._write(HEADS[self.format])
            yield
            return
        mode: Mode = "resume" if self._resume else "overwrite" if self._overwrite else "new"
        with AppendedFile(self.path, mode) as self._file:  # locked from here on
            self._run = run
            if self._resume:
                self.stored = StoredResults.read(self.path, self.format)
                self._require_same_run(run)
                if self.stored.torn_bytes:
                    self._file.cut(self.stored.bytes)
            if not self.stored.bytes:
                self._write(HEADS[self.format])
            yield

    def write(self, result: Classification, place: Place | None = None) -> None:  # noqa: ARG002 - of all outputs
        """Write one result at once."""
        self._write(RECORDS[self.format](result, self._run))
        self.written += 1

    @property
    def shows_progress(self) -> bool:
        """Return whether a person sees the results come."""
        return self.path is None and self.format == "table" and sys.stdout.isatty()

    def state(self) -> str:
        """Return what is there, and how to continue."""
        if self.path is None:
            return f"{self.written} results were written."
        if self._file is None:
            return f"{self.path} was not changed."
        total = len(self.stored.by_path) + self.written
        if not os.path.isfile(self.path) or self.format == "table":  # noqa: PTH113 - it never raises
            return f"{total} results are in {self.path}."
        return f"{total} results are in {self.path}. The same command with --resume continues."

    def _write(self, text: str) -> None:
        if self._file is not None:
            self._file.append(text)
        elif text:
            sys.stdout.write(text)
            sys.stdout.flush()

    def _require_same_run(self, run: str) -> None:
        if not self.stored.run or self.stored.run == run:
            return
        if not same_settings(self.stored.run, run):
            raise OutputError(
                f"{self.path} holds results of another run: its settings or its encoder differ "
                f"({self.stored.run}, now {run}). Use the same settings, another file, or --overwrite."
            )
        logger.warning(
            "The index changed since %s was written. Stored results stay; new ones have run %s.", self.path, run
        )
