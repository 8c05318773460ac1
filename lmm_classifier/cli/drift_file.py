"""The drift test that `classify --drift FILE` begins or continues."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmm_classifier.core.errors import CalibrationError
from lmm_classifier.discovery.drift.drift_log import DriftLog
from lmm_classifier.pipeline.classifier import HybridClassifier


@contextmanager
def drift_log(file: Path | None, classifier: HybridClassifier | None) -> Iterator[DriftLog | None]:
    """Yield the test in a file, compared with the held-out examples of the index of a classifier; None without both.

    Raises:
        CalibrationError: the index is too small to hold examples out.
        OutputError: the file cannot hold this test; see `DriftLog`.
    """
    if file is None or classifier is None:
        yield None
        return
    held_out = classifier.retriever.calibration.familiarity
    if not len(held_out):
        raise CalibrationError("A drift test compares with held-out examples, and this index is too small for one.")
    with DriftLog(file, held_out, classifier.index.contents.identity) as log:
        yield log
