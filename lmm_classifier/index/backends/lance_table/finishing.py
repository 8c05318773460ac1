"""The finished form of a table: sorted rows with their description and indexes, as one version that readers use."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lmm_classifier.core.errors import DatasetError, IndexFileError
from lmm_classifier.core.protocols import Engine, Outcome, Task
from lmm_classifier.embeddings.whitening import IdentityTransform
from lmm_classifier.index.backends.lance_table.about import About, Extras
from lmm_classifier.index.backends.lance_table.arrivals import Arrivals
from lmm_classifier.index.backends.lance_table.datasets import Location, fragment_from_json, translated
from lmm_classifier.index.backends.lance_table.layout import (
    ABOUT,
    ABOUT_VERSION,
    FINISHED,
    ROWS,
    dims_of,
    part,
    rows_schema,
    vector_column,
)
from lmm_classifier.index.backends.lance_table.named_arrays import get_arrays, put_arrays
from lmm_classifier.index.backends.lance_table.sorting import (
    BUCKET_BYTES,
    SortedBucket,
    Source,
    count_labels,
    open_sorter,
    plan_buckets,
)

logger: logging.Logger = logging.getLogger(__name__)

INDEXED_FROM = 10_000  # rows; below, comparing with all is as fast as an index and misses none
_ROWS_OF_LIST = 4096  # of an index, on average
_ARRIVALS_INDEX = "label_idx"


class InThisProcess:
    """An engine that does one task after the other, here."""

    def run(self, tasks: Iterable[Task], build: Callable[[], Callable[[Task], Outcome]]) -> Iterator[Outcome]:
        """Yield the outcome of each task, in their order."""
        work = build()
        for task in tasks:
            yield work(task)


@dataclass(frozen=True)
class Finisher:
    """Makes the finished form of the table at `url` from its arrivals."""

    url: str
    extras: Extras
    engine: Engine
    bucket_bytes: int = BUCKET_BYTES

    def finish(self, arrivals: Arrivals, wanted: Collection[str] | None) -> None:
        """Sort, describe and index the rows of the wanted chunks; nothing is done where that is done already."""
        arrivals.refresh()
        chosen = None if wanted is None else frozenset(wanted)
        if chosen is not None and (missing := sorted(chosen - arrivals.committed_chunks())):
            raise IndexFileError(
                f"{self.url} has no chunk {missing[0]!r}{f', nor {len(missing) - 1} more' * (len(missing) > 1)}. "
                "Commit the chunks first."
            )
        manifest = arrivals.manifest
        names = arrivals.committed_chunks() if chosen is None else chosen
        origin = f"{_origin(names)} {_digest(self.extras)}"
        if (former := finished(self.url)) is not None and former[1].source == origin:
            logger.debug("%s is finished already", self.url)
            return
        source = Source(self.url, arrivals.dataset.version, tuple(dims_of(manifest)), chosen, self.extras.dtype)
        counts = count_labels(source)
        if not counts:
            raise DatasetError(f"{self.url} has no usable image, so there is nothing to finish.")
        buckets = plan_buckets(counts, 4 * sum(source.dims), self.bucket_bytes)
        if len(buckets) > 1:
            source = replace(source, version=_with_label_index(arrivals))
        outcomes = self.engine.run(buckets, partial(open_sorter, source))
        done = sorted(outcomes, key=lambda outcome: outcome.number)
        if [outcome.number for outcome in done] != list(range(len(buckets))):
            raise IndexFileError(f"{self.url}: {len(done)} of {len(buckets)} parts were sorted. Run it again.")
        self._publish(self._about(arrivals, list(counts), done, origin), done)

    def _about(self, arrivals: Arrivals, names: list[str], done: list[SortedBucket], origin: str) -> About:
        manifest, dims = arrivals.manifest, dims_of(arrivals.manifest)
        counts = np.zeros(len(names), np.int64)
        sums = [np.zeros((len(names), dim)) for dim in dims]
        for bucket in done:  # in the order of the rows, whichever was sorted first
            counts[bucket.label_ids] += bucket.counts
            for total, of_bucket in zip(sums, bucket.sums):
                total[bucket.label_ids] += of_bucket
        means = [total / np.maximum(counts, 1)[:, None] for total in sums]
        digest = sum(bucket.digest for bucket in done) % 2**64
        manifest = replace(manifest, count=sum(bucket.examples for bucket in done))
        transforms = self.extras.transforms or [IdentityTransform().to_arrays()] * len(dims)
        extras = replace(self.extras, transforms=transforms)
        return About(manifest, names, counts, means, digest, origin, extras)

    def _publish(self, about: About, done: list[SortedBucket]) -> None:
        """Commit the sorted rows with their description, make the indexes, and then let readers use them."""
        rows = part(self.url, ROWS)
        version = put_arrays(part(self.url, ABOUT), about.to_arrays())
        schema = rows_schema(dims_of(about.manifest), {ABOUT_VERSION: str(version)})
        fragments = [fragment_from_json(fragment) for bucket in done for fragment in bucket.fragments]
        dataset = _committed(rows, schema, fragments, version)
        with translated(self.url):
            dataset.create_scalar_index("content", "BTREE")
            if about.rows >= INDEXED_FROM:
                for encoder in range(len(about.manifest.encoders)):
                    dataset.create_index(vector_column(encoder), "IVF_RQ", name=index_name(encoder), metric="cosine")
            mark_finished(dataset)


def index_lists(rows: int) -> int:
    """Return into how many lists an index divides so many rows, each with a centroid."""
    return max(rows // _ROWS_OF_LIST, 1)


def index_name(encoder: int) -> str:
    """Return the name of the index over the vectors of an encoder."""
    return f"{vector_column(encoder)}_idx"


def finished(url: str) -> tuple[Any, About] | None:
    """Open the rows that readers use, with their description; None where the table was never finished."""
    rows = part(url, ROWS).open_if_there(FINISHED)
    if rows is None:
        return None
    version = (rows.schema.metadata or {}).get(ABOUT_VERSION.encode())
    if version is None:
        raise IndexFileError(f"{url} is not a table of this program: its rows have no description.")
    about = part(url, ABOUT)
    return rows, About.from_arrays(get_arrays(about, int(version)), str(about))


def keep_description(url: str) -> None:
    """Mark the description of the finished rows, so that it is not deleted as an old version."""
    rows = part(url, ROWS).open_if_there(FINISHED)
    if rows is not None:
        mark_finished(part(url, ABOUT).open(int(rows.schema.metadata[ABOUT_VERSION.encode()])))


def bytes_of(dataset: Any) -> int:
    """Return the bytes of the rows of an opened version, as its manifest has them, without the indexes."""
    files = [file for fragment in dataset.get_fragments() for file in fragment.metadata.files]
    return sum(file.file_size_bytes or 0 for file in files)


def is_finished(chunks: Collection[str], about: About) -> bool:
    """Return whether the rows of a table were made of these chunks, all of them and no others."""
    return about.source.partition(" ")[0] == _origin(chunks)


def _digest(extras: Extras) -> str:
    """Return what tells whether the vectors of the same chunks are stored and compared in the same way."""
    digest = hashlib.blake2b(extras.dtype.encode(), digest_size=8)
    for transform in extras.transforms:
        for name in sorted(transform):
            digest.update(f"{name} ".encode() + np.ascontiguousarray(transform[name]).tobytes())
    return digest.hexdigest()


def _origin(names: Collection[str]) -> str:
    return hashlib.blake2b("\0".join(sorted(names)).encode(), digest_size=16).hexdigest()


def _with_label_index(arrivals: Arrivals) -> int:
    """Make or extend the index by which a bucket finds its rows among the arrivals; return the version with it."""
    dataset = arrivals.dataset
    with translated(str(arrivals.location)):
        if any(index.name == _ARRIVALS_INDEX for index in dataset.describe_indices()):
            dataset.optimize.optimize_indices()
        else:
            dataset.create_scalar_index("label", "BTREE", name=_ARRIVALS_INDEX)
    arrivals.refresh()
    return int(arrivals.dataset.version)


def _committed(rows: Location, schema: Any, fragments: list[Any], about: int) -> Any:
    """Commit the rows; a failed commit may have been stored, so the manifest is read before anything else."""
    try:
        return rows.overwrite(schema, fragments)
    except IndexFileError:
        there = rows.open_if_there()
        found = None if there is None else (there.schema.metadata or {}).get(ABOUT_VERSION.encode())
        if there is None or found != str(about).encode():
            raise
        return there


def mark_finished(dataset: Any) -> None:
    """Let readers use this version of the rows; it is not deleted as an old one."""
    if FINISHED in dataset.tags.list():
        dataset.tags.update(FINISHED, dataset.version)
    else:
        dataset.tags.create(FINISHED, dataset.version)
