"""Classify the images of a run, batch by batch; an interrupted run resumes where it ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lmm_classifier.core.errors import Cancelled
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.drift import DriftTests
from lmm_classifier.review.images import ImageSource, NamedImage
from lmm_classifier.review.storage.records import UNREADABLE, NewItem
from lmm_classifier.review.storage.run_store import RunStore
from lmm_classifier.review.votes import classify_with_vectors


def classify_run(
    store: RunStore,
    run: int,
    source: ImageSource,
    classifier: HybridClassifier,
    drift: DriftTests,
    progress: ProgressCallback | None = None,
    batch_size: int | None = None,
) -> None:
    """Classify the images of a run that have no result yet; each batch is one commit.

    Args:
        store: holds the run.
        run: its number.
        source: its images; one with the name of an item is not read again.
        classifier: classifies them.
        drift: tests whether they change.
        progress: called after each batch; raise `Cancelled` in it to stop. What is done stays, and the run can go on.
        batch_size: images that are classified together; by default what the configuration says.
    """
    known, total = store.names(run), len(source)
    store.set_state(run, "running", total)
    done, unreadable = len(known), 0
    size = batch_size if batch_size is not None else classifier.config.batch_size
    try:
        for batch in _batches((image for image in source if image.name not in known), size):
            items = classify_items(classifier, batch)
            add_items(store, drift, run, items)
            done += len(items)
            unreadable += sum(item.result["reason"] == UNREADABLE for item in items)
            if progress is not None:
                progress(Progress("classifying", done, total, unreadable))
    except Cancelled:
        store.set_state(run, "cancelled")
        raise
    except Exception:
        store.set_state(run, "failed")
        raise
    store.set_state(run, "done")


def add_items(store: RunStore, drift: DriftTests, run: int, items: Sequence[NewItem]) -> list[int]:
    """Store images with their results, and test whether the images change, in one commit; return their ids."""
    try:
        with drift.store.database.writing():
            ids = store.add(run, items)
            drift.add(run, items)
    except BaseException:
        drift.forget(run)
        raise
    return ids


def classify_items(classifier: HybridClassifier, images: Sequence[NamedImage]) -> list[NewItem]:
    """Classify images and return them as items of a run."""
    return [
        NewItem(image.name, voted.result.content_hash or "", voted.result.to_dict(), voted.index_version, voted.vectors)
        for image, voted in zip(images, classify_with_vectors(classifier, images), strict=True)
    ]


def _batches(images: Iterable[NamedImage], size: int) -> Iterable[list[NamedImage]]:
    batch: list[NamedImage] = []
    for image in images:
        batch.append(image)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
