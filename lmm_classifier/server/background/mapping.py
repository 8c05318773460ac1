"""The map of the dataset: made in the background for a version of the index, kept, and shown with the labels of now."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from threading import Event, Lock, Thread
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lmm_classifier.core.concurrency import lower_priority
from lmm_classifier.core.errors import Cancelled, LmmClassifierError
from lmm_classifier.core.progress import Progress
from lmm_classifier.discovery.example_map import ExampleMap
from lmm_classifier.index.contents import IndexContents
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.server.background.stored_examples import NO_MAP, are_stored

logger: logging.Logger = logging.getLogger(__name__)

UNIT = 1000  # steps of the whole numbers in a distance of 1; positions are well within -32 and 32
_STOPPING = 10.0  # seconds to wait for a map when the server ends
_AFTER_FAILURE = 30.0  # seconds until a map is tried again
_PAUSE = 5.0  # times as long as the last map took, before edits start the next one
_RECORD = np.dtype([("x", "<i2"), ("y", "<i2"), ("label", "<u2")])

State = Literal["running", "done", "failed", "canceled"]


@dataclass(frozen=True)
class MapView:
    """The examples on a map that are in one version of the index, with their labels there; n are shown."""

    tag: str  # differs between any two views
    map_version: int  # of the index that the map was made of
    index_version: int
    is_sample: bool  # whether only some of the examples are on it
    is_current: bool  # whether it was made of this version of the index
    records: NDArray[np.void]  # (n,) x, y and the place of the label in `labels`
    labels: Sequence[str]
    paths: Sequence[str]  # (n,) ids in the dataset
    hashes: Sequence[str]  # (n,)
    uncertainty: Sequence[int]  # (n,) how many of the nearest examples had another label, in percent

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """The rows of the examples by their paths."""
        return {path: row for row, path in enumerate(self.paths)}


@dataclass(frozen=True)
class Making:
    """How far the map under way is, or how the last one ended."""

    state: State = "done"
    progress: Progress | None = None
    error: str = ""  # why the last one failed


class DatasetMapping:
    """Makes the map of one server's index; one is made at a time.

    It is made when somebody asks for it and there is none of the newest version. While edits follow each other closely,
    it is made again after a pause, so that it takes a small part of the time of a processor.
    """

    def __init__(self, classifier: HybridClassifier) -> None:
        self._classifier = classifier
        self._lock, self._stop = Lock(), Event()
        self._thread: Thread | None = None
        self._made: ExampleMap | None = None
        self._rest_until = 0.0  # by the monotonic clock
        self._view: tuple[ExampleMap, IndexContents, MapView] | None = None
        self.making: Making = Making()

    def view(self) -> MapView | None:
        """Return the last map, None before there is one; start to make a newer one. Call it in another thread."""
        contents, made = self._classifier.index.contents, self._made
        if made is None or not _is_of(made, contents):
            self._start()
        if made is None:
            return None
        view = self._view
        if view is None or view[0] is not made or view[1] is not contents:
            self._view = view = made, contents, view_of(made, contents)
        return view[2]

    def stop(self) -> None:
        """Ask the map under way to stop, and start no other; return at once."""
        self._stop.set()

    def close(self) -> None:
        """Stop the map under way, and wait for its end."""
        self.stop()
        if self._thread is not None:
            self._thread.join(_STOPPING)

    def _start(self) -> None:
        with self._lock:
            is_resting = time.monotonic() < self._rest_until
            if self.making.state == "running" or self._stop.is_set() or is_resting:
                return
            self.making = Making("running")
            self._thread = Thread(target=self._run, name="map", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        def report(progress: Progress) -> None:
            if self._stop.is_set():
                raise Cancelled
            self.making = Making("running", progress)

        if are_stored(self._classifier):
            self._rest_until, self.making = time.monotonic() + _AFTER_FAILURE, Making("failed", error=NO_MAP)
            return
        lower_priority()
        began = time.monotonic()
        try:
            indexes = Index.open_each(self._classifier.config.retrieval.index_path)
            self._made = ExampleMap.of(indexes, self._made, report)
            ended = Making()
        except Cancelled:
            ended = Making("canceled")
        except LmmClassifierError as error:
            logger.error("The map failed: %s: %s", type(error).__name__, error)
            ended = Making("failed", error="The index cannot be read.")
        except Exception:
            logger.exception("The map failed.")
            ended = Making("failed", error="The server made a mistake. Its log has the details.")
        now = time.monotonic()
        self._rest_until = now + (_AFTER_FAILURE if ended.error else _PAUSE * (now - began))
        self.making = ended


def view_of(made: ExampleMap, contents: IndexContents) -> MapView:
    """Return the examples of a map that are in a version of the index still, with their labels there."""
    rows_of = {path: row for row, path in enumerate(contents.paths)}
    places, rows = [], []
    for place, (path, content_hash) in enumerate(zip(made.paths, made.hashes, strict=True)):
        row = rows_of.get(path)
        if row is not None and contents.hashes[row] == content_hash:
            places.append(place)
            rows.append(row)
    given = [contents.labels[row] for row in rows]
    labels = sorted(set(given))
    number = {label: min(place, 2**16 - 1) for place, label in enumerate(labels)}
    records = np.empty(len(rows), _RECORD)
    steps = np.clip(np.rint(made.positions[places] * UNIT), -(2**15), 2**15 - 1)
    records["x"], records["y"] = steps[:, 0], steps[:, 1]
    records["label"] = [number[label] for label in given]
    digest = blake2b(digest_size=12)
    digest.update(records.tobytes() + repr((made.stamp, labels)).encode("utf-8", "surrogatepass"))
    digest.update("".join(made.hashes[place] for place in places).encode("ascii"))
    return MapView(
        tag=f'"{digest.hexdigest()}"',
        map_version=made.version,
        index_version=contents.version,
        is_sample=made.examples > len(made.paths),
        is_current=_is_of(made, contents),
        records=records,
        labels=labels,
        paths=[made.paths[place] for place in places],
        hashes=[made.hashes[place] for place in places],
        uncertainty=made.uncertainty[places].tolist(),
    )


def _is_of(made: ExampleMap, contents: IndexContents) -> bool:
    return (made.version, made.stamp) == (contents.version, contents.stamp)
