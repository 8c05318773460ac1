"""The runs stored next to an index, for a program that has no classifier open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lmm_classifier.core.errors import ReviewError
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.index.formats import is_durable
from lmm_classifier.review.active_runs import lock_of
from lmm_classifier.review.images import UploadedFiles
from lmm_classifier.review.storage.database import FILE
from lmm_classifier.review.storage.run_store import RunStore


def has_runs(index_folder: IndexLocation) -> bool:
    """Return whether runs are stored next to an index; raise ReviewError where there is no index."""
    if isinstance(index_folder, Path) and not index_folder.exists():
        raise ReviewError(f"There is no index at {index_folder}.")
    return is_durable(index_folder) and (Path(index_folder) / FILE).is_file()


def delete_runs(index_folder: Path, runs: RunStore, numbers: Sequence[int]) -> None:
    """Delete runs with their results, vectors, answers and uploaded images.

    The examples that they taught stay in the index.
    """
    uploads = UploadedFiles(index_folder)
    with uploads.alone():
        uploads.remove(runs.delete(numbers))
    for number in numbers:
        lock_of(index_folder, number).unlink(missing_ok=True)
