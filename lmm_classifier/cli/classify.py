"""The job of `lmm-classifier classify`: find files, classify them as they stream by, write verdicts, count."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from lmm_classifier.cli.console import ProgressDisplay
from lmm_classifier.cli.writers import WRITERS
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.datatypes import Classification
from lmm_classifier.core.errors import CorpusError
from lmm_classifier.core.progress import Progress
from lmm_classifier.data.image_folder import find_pictures
from lmm_classifier.pipeline.classifier import HybridClassifier


def run_classify(
    given: Sequence[Path],
    config: PipelineConfig,
    output_format: str,
    out: IO[str],
    leave_out_identical: bool = False,
    fail_on_unknown: bool = False,
) -> int:
    """Classify files and folders; 0 done, 3 some files were no pictures, 4 some are unknown and that matters."""
    paths = list(_files(given))
    classifier = HybridClassifier(config)
    results = classifier.classify_paths(paths, leave_out_identical)
    counts: Counter[str] = Counter()
    started = time.monotonic()
    # a table on the terminal is its own progress
    quiet = out is sys.stdout and sys.stdout.isatty()
    with ProgressDisplay() as show:
        for done, result in enumerate(WRITERS[output_format](results, out), start=1):
            counts[_outcome(result)] += 1
            if not quiet:
                show(Progress("classifying", done, len(paths), counts["unreadable"]))
    seconds = time.monotonic() - started
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    sys.stderr.write(f"{len(paths)} pictures: {said}; {seconds:.1f} s ({len(paths) / max(seconds, 1e-9):.1f}/s)\n")
    if counts["unreadable"]:
        return 3
    return 4 if fail_on_unknown and counts["unknown"] else 0


def _outcome(result: Classification) -> str:
    if result.decision.reason == "unreadable":
        return "unreadable"
    if result.is_unknown:
        return "unknown"
    return "asked again" if result.decision.reason in ("reranked", "reranker_failed") else "accepted"


def _files(given: Sequence[Path]) -> Iterator[Path]:
    """The files named, and the picture files in the folders named; raises CorpusError for a folder without any."""
    for path in given:
        if not path.is_dir():
            yield path
            continue
        found = find_pictures(path)
        if not found:
            raise CorpusError(f"no picture files in {path}")
        yield from found
