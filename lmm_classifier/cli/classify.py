"""The command `classify`."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from lmm_classifier.cli.options import output_stream

if TYPE_CHECKING:
    from lmm_classifier.config import PipelineConfig
    from lmm_classifier.core.datatypes import Classification


class Format(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSONL = "jsonl"
    CSV = "csv"


def classify(
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders that are searched.")],
    index: Annotated[Path | None, typer.Option(help="Index. [default: retrieval.index_path]")] = None,
    output_format: Annotated[Format, typer.Option("--format", help="How results are written.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
    fail_on_unknown: Annotated[bool, typer.Option("--fail-on-unknown", help="Exit with 4 if any is unknown.")] = False,
    leave_out_identical: Annotated[
        bool, typer.Option("--leave-out-identical", help="Ignore examples with the same content as the query.")
    ] = False,
    *,
    config: PipelineConfig,
) -> int:
    """Classify images by the examples of an index.

    Exit codes: 0 done, 3 some files are not images, 4 some are unknown (with --fail-on-unknown), 1 failed.
    """
    if index is not None:
        config.retrieval.index_path = index
    with output_stream(output) as stream:
        counts = _classify(list(_files(images)), config, output_format.value, stream, leave_out_identical)
    if counts["unreadable"]:
        return 3
    return 4 if fail_on_unknown and counts["unknown"] else 0


def _classify(
    paths: Sequence[Path], config: PipelineConfig, output_format: str, stream: IO[str], leave_out_identical: bool
) -> Counter[str]:
    """Classify files as they stream by, write the results, and count the outcomes."""
    from lmm_classifier.cli.console import ProgressDisplay
    from lmm_classifier.cli.quiet import write_note
    from lmm_classifier.cli.writers import WRITERS
    from lmm_classifier.core.progress import Progress
    from lmm_classifier.pipeline.classifier import HybridClassifier

    classifier = HybridClassifier(config)
    results = classifier.classify_paths(paths, leave_out_identical)
    counts: Counter[str] = Counter()
    started = time.monotonic()
    table_on_terminal = stream is sys.stdout and sys.stdout.isatty()  # it shows the progress itself
    with ProgressDisplay() as show:
        for done, result in enumerate(WRITERS[output_format](results, stream), start=1):
            counts[_outcome(result)] += 1
            if not table_on_terminal:
                show(Progress("classifying", done, len(paths), counts["unreadable"]))
    seconds = time.monotonic() - started
    summary = ", ".join(f"{count} {name}" for name, count in counts.items())
    rate = len(paths) / max(seconds, 1e-9)
    write_note(f"{len(paths)} images: {summary}; {seconds:.1f} s ({rate:.1f}/s)")
    return counts


def _outcome(result: Classification) -> str:
    if result.decision.reason == "unreadable":
        return "unreadable"
    if result.is_unknown:
        return "unknown"
    return "reranked" if result.decision.reason in ("reranked", "reranker_failed") else "accepted"


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files named, and the image files in the folders named; a folder without any raises DatasetError."""
    from lmm_classifier.core.errors import DatasetError
    from lmm_classifier.data.image_folder import find_images

    for path in paths:
        if not path.is_dir():
            yield path
            continue
        images = find_images(path)
        if not images:
            raise DatasetError(f"No image files in {path}")
        yield from images
