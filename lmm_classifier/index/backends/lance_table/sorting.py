"""Rows in the order of label and content, one for each content and label, however they came.

The labels are divided into buckets, each small enough for the memory of one worker. A worker reads the rows of a bucket
wherever they are among the arrivals, sorts them, joins equal ones and writes them to files of their own.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lmm_classifier.core.arrays import Float32Array, Float64Array, IntArray
from lmm_classifier.index.backends.lance_table.columns import contents_of, vectors_of
from lmm_classifier.index.backends.lance_table.datasets import arrow, compute, fragment_to_json, translated
from lmm_classifier.index.backends.lance_table.layout import (
    ARRIVALS,
    ROWS,
    SHA256,
    arrivals_schema,
    part,
    rows_schema,
    vector_column,
)
from lmm_classifier.index.storage.state import as_embeddings

BUCKET_BYTES = 1 << 28  # of the vectors of a bucket; reading, sorting and writing them takes about five times that
_BATCH = 8192  # rows read at a time
_SUMMED = 4096  # rows summed at a time


@dataclass(frozen=True)
class Bucket:
    """Labels that one worker sorts; or a part of a label that is larger than a bucket, by the content of its rows."""

    number: int
    labels: tuple[str, ...]  # ascending
    first_id: int  # place of the first one among all labels
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class SortedBucket:
    """What a worker wrote: files that belong to no version yet, and the sums of their rows."""

    number: int
    fragments: list[dict[str, Any]]
    label_ids: IntArray  # (l,) labels that have rows, ascending
    counts: IntArray  # (l,) their rows
    examples: int  # paths of all rows
    sums: list[Float64Array]  # (l, dim) of each encoder
    digest: int  # sum of the digests of the rows modulo 2^64, whatever their order


@dataclass(frozen=True)
class Source:
    """The arrivals of one version, and which chunks of them are wanted."""

    url: str
    version: int
    dims: tuple[int, ...]
    wanted: frozenset[str] | None  # names of chunks; None: all
    dtype: str = "float32"  # in which an index had the vectors; from float16 they are normalized again to be compared

    def batches(self, columns: Sequence[str], condition: str = "") -> Iterator[Any]:
        """Yield the wanted good rows, in batches (`pyarrow.RecordBatch`)."""
        location = part(self.url, ARRIVALS)
        asked = (
            f"kind IS NULL AND {condition}" if condition else "kind IS NULL"
        )  # good; vectors need not be read for it
        names = None if self.wanted is None else arrow().array(sorted(self.wanted), arrow().string())
        with translated(str(location)):
            scan = location.open(self.version).scanner(
                columns=[*columns, "chunk"], filter=asked, batch_size=_BATCH, scan_in_order=True
            )
            for batch in scan.to_batches():
                yield batch if names is None else batch.filter(compute().is_in(batch["chunk"], value_set=names))


def count_labels(source: Source) -> dict[str, int]:
    """Return for each label how many good files have it, labels ascending."""
    counts = Counter[str]()
    for batch in source.batches(["label"]):
        for entry in compute().value_counts(batch["label"]).to_pylist():
            counts[entry["values"]] += entry["counts"]
    return {label: counts[label] for label in sorted(counts)}


def plan_buckets(counts: dict[str, int], row_bytes: int, bucket_bytes: int = BUCKET_BYTES) -> list[Bucket]:
    """Divide labels with these counts into buckets of at most so many bytes, in the order of the labels.

    Example:
        >>> [bucket.labels for bucket in plan_buckets({"a": 1, "b": 1, "c": 3}, row_bytes=100, bucket_bytes=200)]
        [('a', 'b'), ('c',), ('c',)]
    """
    most = max(bucket_bytes // row_bytes, 1)
    buckets, labels, rows = list[Bucket](), list[str](), 0

    def close(following: int) -> None:
        if labels:
            buckets.append(Bucket(len(buckets), tuple(labels), following - len(labels)))
            labels.clear()

    for place, (label, count) in enumerate(counts.items()):
        if rows + count > most:
            close(place)
            rows = 0
        if count > most:
            parts = -(-count // most)
            buckets += [Bucket(len(buckets) + number, (label,), place, number, parts) for number in range(parts)]
        else:
            labels.append(label)
            rows += count
    close(len(counts))
    return buckets


def open_sorter(source: Source) -> Callable[[Bucket], SortedBucket]:
    """Return the function that sorts and writes a bucket; it is called where the work is done."""
    return partial(sort_bucket, source)


def sort_bucket(source: Source, bucket: Bucket) -> SortedBucket:
    """Read a bucket, write its rows sorted and joined, and return what was written."""
    schema = rows_schema(source.dims)
    vectors = [vector_column(place) for place in range(len(source.dims))]
    joined = _joined(_good_rows(source, bucket, vectors), bucket, schema)
    if not joined.num_rows:
        none = np.empty(0, np.int64)
        return SortedBucket(bucket.number, [], none, none, 0, [np.empty((0, dim)) for dim in source.dims], 0)
    fragments = part(source.url, ROWS).write_fragments(joined, schema)
    ids = joined["label"].to_numpy()
    label_ids, starts, counts = np.unique(ids, return_index=True, return_counts=True)
    sums = []
    for name, dim in zip(vectors, source.dims):
        rows = as_embeddings(vectors_of(joined[name], dim).astype(source.dtype, copy=False))
        sums.append(_sums(rows, starts, counts))
    return SortedBucket(
        number=bucket.number,
        fragments=[fragment_to_json(fragment) for fragment in fragments],
        label_ids=label_ids.astype(np.int64),
        counts=counts.astype(np.int64),
        examples=len(joined["paths"].combine_chunks().flatten()),
        sums=sums,
        digest=_digest(joined, bucket),
    )


def _good_rows(source: Source, bucket: Bucket, vectors: Sequence[str]) -> Any:
    types = arrow()
    schema = arrivals_schema(source.dims)
    columns = ["content", "path", "label", *vectors]
    batches = (batch.select(columns) for batch in source.batches(columns, _condition(bucket)))
    return types.Table.from_batches(batches, types.schema([schema.field(name) for name in columns]))


def _condition(bucket: Bucket) -> str:
    """Return the condition in SQL for the rows of a bucket."""
    first, last = (text.replace("'", "''") for text in (bucket.labels[0], bucket.labels[-1]))
    condition = f"label >= '{first}' AND label <= '{last}'"
    edges = [number * 2**64 // bucket.parts for number in (bucket.part, bucket.part + 1)]
    if bucket.part:
        condition += f" AND content >= X'{_content(edges[0])}'"
    if bucket.part + 1 < bucket.parts:
        condition += f" AND content < X'{_content(edges[1])}'"
    return condition


def _content(first_bytes: int) -> str:
    return first_bytes.to_bytes(8).hex().ljust(2 * SHA256, "0")


def _joined(table: Any, bucket: Bucket, schema: Any) -> Any:
    """Return the rows in the order of label and content, with the paths of equal ones joined.

    The caller holds no other reference to `table`, so that the unsorted rows are given back as soon as possible.
    """
    types, functions = arrow(), compute()
    keys = [(name, "ascending") for name in ("label", "content", "path")]
    table = table.take(functions.sort_indices(table.select(["label", "content", "path"]), sort_keys=keys))
    labels = functions.index_in(table["label"], value_set=types.array(bucket.labels)).to_numpy()
    contents = contents_of(table["content"])
    paths = table["path"].combine_chunks()
    is_new = np.ones(len(labels), bool)  # the first row of a content and label
    is_new[1:] = (labels[1:] != labels[:-1]) | (contents[1:] != contents[:-1]).any(axis=1)
    is_other = is_new.copy()  # not committed twice
    if len(labels) > 1:
        is_other[1:] |= functions.not_equal(paths[1:], paths[:-1]).to_numpy(zero_copy_only=False)
    starts = np.cumsum(is_other)[is_new] - 1  # of the paths of each row
    offsets = types.array(np.append(starts, is_other.sum()), types.int32())
    firsts = table if is_new.all() else table.filter(types.array(is_new))
    del table
    columns = {
        "label": types.array(labels[is_new] + bucket.first_id, types.int32()),
        "content": firsts["content"],
        "paths": types.ListArray.from_arrays(offsets, paths.filter(types.array(is_other))),
    }
    names = [field.name for field in schema]
    return types.table(
        [columns.get(name, firsts[name] if name in firsts.column_names else None) for name in names], schema=schema
    )


def _sums(rows: Float32Array, starts: IntArray, counts: IntArray) -> Float64Array:
    """Return the sum of the vectors of each label (l, dim), row after row in float64."""
    sums = np.zeros((len(starts), rows.shape[1]))
    for place, (start, count) in enumerate(zip(starts.tolist(), counts.tolist())):
        for first in range(start, start + count, _SUMMED):
            sums[place] += rows[first : min(first + _SUMMED, start + count)].astype(np.float64).sum(axis=0)
    return sums


def _digest(table: Any, bucket: Bucket) -> int:
    total = 0
    labels, contents = table["label"].to_pylist(), table["content"].to_pylist()
    for label, content, paths in zip(labels, contents, table["paths"].to_pylist()):
        name = bucket.labels[label - bucket.first_id]
        entry = b"\0".join((content, name.encode(), *(path.encode() for path in paths)))
        total += int.from_bytes(hashlib.blake2b(entry, digest_size=8).digest())
    return total % 2**64
