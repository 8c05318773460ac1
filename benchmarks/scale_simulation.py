"""All of a large build that needs no vectors: listing, names of chunks, what is there, commits, statistics, shortlists.

The names of 10^8 images are made up as they are cut into chunks, and the chunks are as many as those of 10^9 images.
Each size runs in a process of its own, whose peak memory and processor time are measured. Takes an hour, 2 GB of memory
and 5 GB of disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Better, Row, where
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float64Array, IntArray
from lmm_classifier.data.readers.dataset_spec import DatasetSpec
from lmm_classifier.distributed.chunk_folder import ChunkFolder
from lmm_classifier.distributed.chunks import Chunk, chunk_name, list_chunks
from lmm_classifier.distributed.listing import DatasetListing, ListedFile
from lmm_classifier.distributed.runs import FormerChunks, PlannedChunk, Run, latest_run, new_run_id, write_run
from lmm_classifier.neighbors.gathering.reading import FoundRows, ReadingLimits, RowReader, competing_labels

COMMAND = "python -m benchmarks.scale --only simulation"
NAMED = (10**6, 10**8)  # images whose chunks are named
LISTED = (10**5, 10**6)  # files on disk that are listed
CHUNKS = (24_400, 244_000)  # files of chunks; the second number is that of 10^9 images in chunks of 4,096
COMMITTED = (24_400, 244_000)  # chunks that a table takes
# chunks in a file, and in a version, as a build commits them: 14 of 4,096 rows of 1,152 numbers are 256 MB
GROUP, VERSION = 14, 14 * 64
REDUCED = (10_000, 100_000)  # labels whose sums are added up
PER_LABEL = 10_000  # images
SOURCE, MADE = "s3://bucket/images", "an encoder"


@dataclass(frozen=True)
class Measured:
    """What one process needed for one size, after `size` things of its kind were done."""

    size: int
    seconds: float  # of the processor
    megabytes: float  # at the peak, with the interpreter
    more: dict[str, float]


def made_up(count: int) -> Iterator[ListedFile]:
    """Yield files as a bucket would list them, in the order of their names."""
    for number in range(count):
        label = f"label_{number // PER_LABEL:06}"
        modified = 1_700_000_000_000_000_000 + number
        yield ListedFile(f"{label}/{number:012}.jpg", label, 300_000 + number % 977, modified, 0)


def name_chunks(count: int, _: Path) -> dict[str, float]:
    """Cut files into chunks, name them, and write each listing to memory, as the driver of a build does."""
    planned, size = list[PlannedChunk](), 0
    for chunk in list_chunks(made_up(count), SOURCE, MADE):
        size += len(chunk.to_bytes())
        planned.append(PlannedChunk.of(chunk))
    assert sum(chunk.files for chunk in planned) == count
    assert len({chunk.name for chunk in planned}) == len(planned)
    return {"chunks": len(planned), "bytes of listings": size}


def list_files(count: int, folder: Path) -> dict[str, float]:
    """List files of a folder with their sizes and times; they are made before the clock starts."""
    listing = DatasetListing(DatasetSpec(str(folder / "images")), PipelineConfig.offline().images)
    assert sum(1 for _ in listing.files()) == count
    return {"labels": len(listing.counts)}


def make_files(count: int, folder: Path) -> None:
    """Make empty files in folders of 1,000."""
    for label in range(count // 1000):
        place = folder / "images" / f"label_{label:04}"
        place.mkdir(parents=True)
        for number in range(1000):
            (place / f"{number:04}.jpg").touch()


def small_chunks(count: int) -> Iterator[Chunk]:
    """Yield as many chunks, of four files each."""
    part = list[ListedFile]()
    for file in made_up(4 * count):
        part.append(file)
        if len(part) == 4:
            yield Chunk(chunk_name(part, SOURCE, MADE), SOURCE, tuple(part))
            part = []


def make_chunks(count: int, folder: Path) -> None:
    """Make an empty file for each chunk, and the plan of a run that knows all of them."""
    planned = list[PlannedChunk]()
    for chunk in small_chunks(count):
        file = folder / "table/chunks" / chunk.name[:2] / f"{chunk.name}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        planned.append(PlannedChunk.of(chunk))
    write_run(ChunkFolder(str(folder / "table")), Run(new_run_id(MADE, SOURCE), tuple(planned)))


def resume(count: int, folder: Path) -> dict[str, float]:
    """Find what is there after an interruption: the chunks, the former run, and which of its rows can be taken over."""
    chunks = ChunkFolder(str(folder / "table"))
    stored = chunks.stored()
    run = latest_run(chunks, MADE, SOURCE)
    assert run is not None
    former = FormerChunks(run, stored)
    missing = [chunk for chunk in run.chunks if chunk.name not in stored]
    overlapping = sum(len(former.overlapping(chunk)) for chunk in run.chunks)
    assert (len(stored), len(missing), overlapping) == (count, 0, 0)
    return {}


def commit(count: int, folder: Path) -> dict[str, float]:
    """Commit chunks of one row to a table as a build does, and each version again; then read which are there.

    A worker, which opened the table at the start, writes groups of chunks to files.
    """
    from lmm_classifier.index.backends.lance_table.table import LanceTable
    from lmm_classifier.index.manifest import EncoderEntry, Manifest
    from lmm_classifier.testing import example_fingerprint

    encoders = (EncoderEntry(example_fingerprint(8), "identity"),)
    table = LanceTable.create(str(folder / "table"), Manifest(encoders, 1, SOURCE, "2026-01-01", "simulation"))
    worker, seconds, writing = LanceTable.open(table.url), list[float](), 0.0
    for start in range(0, count, VERSION):
        before = time.process_time()
        numbers = range(start, min(start + VERSION, count))
        written = [
            worker.write({f"{number:032x}": _one_row(number) for number in numbers[first : first + GROUP]})
            for first in range(0, len(numbers), GROUP)
        ]
        begun = time.process_time()
        writing += begun - before
        table.commit_written(written)
        seconds.append(time.process_time() - begun)
        table.commit_written(written)  # as a driver that was killed and started again
    fresh = LanceTable.open(str(folder / "table"))
    before = time.process_time()
    names = fresh.committed_chunks()
    again = time.process_time() - before
    assert len(names) == count == fresh._arrivals.dataset.count_rows()
    size = sum(file.stat().st_size for file in (folder / "table").rglob("*") if file.is_file())
    tenth = max(len(seconds) // 10, 1)
    first, last = (1000 * float(np.median(part)) for part in (seconds[:tenth], seconds[-tenth:]))
    more = {"versions": len(seconds), "ms a version, first": first, "ms a version, last": last}
    return {**more, "s of workers": writing, "s to read the names": again, "MB on disk": size / 1e6}


def _one_row(number: int) -> Any:
    import pyarrow as pa

    none, digest = pa.array([None], pa.string()), hashlib.sha256(str(number).encode()).digest()
    vector = pa.FixedSizeListArray.from_arrays(pa.array(np.full(8, 8**-0.5, np.float32)), 8)
    return pa.table(
        {
            "content": pa.array([digest], pa.binary(32)),
            "path": [f"{number}.jpg"],
            "label": [f"label_{number % 1000:04}"],
            "kind": none,
            "reason": none,
            "vector": vector,
        }
    )


def reduce(count: int, _: Path) -> dict[str, float]:
    """Plan the buckets of a billion rows, and add up what 64 numbers of each of their labels sum to, in any order."""
    from lmm_classifier.index.backends.lance_table.sorting import plan_buckets

    counts = {f"label_{number:06}": PER_LABEL for number in range(count)}
    buckets = plan_buckets(counts, 4 * 1152)
    order = np.random.default_rng(0).permutation(len(buckets))
    assert sum(len(bucket.labels) for bucket in buckets if bucket.part == 0) == count
    first, second = (_reduced(counts, [buckets[place] for place in places]) for places in (order, order[::-1]))
    assert first == second
    return {"buckets": len(buckets)}


def _reduced(counts: dict[str, int], buckets: list[Any]) -> str:
    """Return the version of a table whose buckets were sorted in this order; equal bits give an equal version."""
    from lmm_classifier.index.backends.lance_table.about import Extras
    from lmm_classifier.index.backends.lance_table.finishing import Finisher, InThisProcess
    from lmm_classifier.index.backends.lance_table.sorting import SortedBucket
    from lmm_classifier.index.manifest import EncoderEntry, Manifest
    from lmm_classifier.testing import example_fingerprint

    class Known:
        manifest = Manifest((EncoderEntry(example_fingerprint(64), "identity"),), 1, SOURCE, "2026-01-01", "simulation")

    done = list[SortedBucket]()
    for bucket in buckets:
        rng = np.random.default_rng(bucket.number)
        ids = bucket.first_id + np.arange(len(bucket.labels))
        rows = np.full(len(ids), PER_LABEL // bucket.parts)
        sums = [rng.normal(size=(len(ids), 64))]
        done.append(SortedBucket(bucket.number, [], ids, rows, int(rows.sum()), sums, bucket.number))
    finisher = Finisher("table", Extras(), InThisProcess())
    arrivals: Any = Known()
    done.sort(key=lambda outcome: outcome.number)
    about = finisher._about(arrivals, list(counts), done, "simulation")
    return about.version


def shortlist(count: int, _: Path) -> dict[str, float]:
    """Choose the labels that compete for 64 queries, and plan how their rows are read; no row is read."""
    rng, limits, width = np.random.default_rng(0), ReadingLimits(), 64
    store: Any = CountedRows(np.full(count, PER_LABEL), np.broadcast_to(np.zeros(width), (count, width)))
    near = rng.integers(0, count, (64, limits.nearest))
    found = FoundRows(near * PER_LABEL, near)
    labels = competing_labels(limits, rng.uniform(-1, 1, (64, count)), found, found)
    rows = np.array([np.minimum(store.counts[wanted], limits.rows).sum() for wanted in labels])
    no_metric: Any = None  # no row is compared
    parts = list(RowReader(store, no_metric, limits)._parts(labels))
    assert max(len(wanted) for wanted in labels) <= limits.labels
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    return {"rows of a query, at most": float(rows.max()), "parts of 64 queries": len(parts)}


@dataclass(frozen=True)
class CountedRows:
    """A store whose rows are counted and not there."""

    counts: IntArray  # (C,)
    means: Float64Array  # (C, d)


Part = Callable[[int, Path], dict[str, float]]
PARTS: dict[str, tuple[Part, Callable[[int, Path], None] | None]] = {
    "names": (name_chunks, None),
    "listing": (list_files, make_files),
    "resume": (resume, make_chunks),
    "commits": (commit, None),
    "reduction": (reduce, None),
    "shortlists": (shortlist, None),
}


def measured(part: str, size: int) -> Measured:
    """Run one part in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale_simulation", "--part", part, "--size", str(size)]
    with tempfile.TemporaryDirectory() as folder:
        for step in ("prepare", "run"):
            done = subprocess.run([*command, "--step", step, "--folder", folder], check=True, stdout=subprocess.PIPE)
    return Measured(**json.loads(done.stdout))


def run_here(part: str, size: int, step: str, folder: Path) -> None:
    """Prepare or run a part in this process, and print what it needed."""
    work, prepare = PARTS[part]
    if step == "prepare":
        if prepare is not None:
            prepare(size, folder)
        return
    before = time.process_time()
    more = work(size, folder)
    seconds = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    sys.stdout.write(json.dumps({"size": size, "seconds": seconds, "megabytes": peak, "more": more}))


def rows(quick: bool) -> list[Row]:
    """Measure each part at its sizes, and compare the largest with the smallest."""
    small = 100 if quick else 1
    results = dict[str, list[Measured]]()
    for part, sizes in (
        ("names", NAMED),
        ("listing", LISTED),
        ("resume", CHUNKS),
        ("commits", COMMITTED),
        ("reduction", REDUCED),
        ("shortlists", REDUCED),
    ):
        results[part] = [measured(part, size // small) for size in sizes]
    return [row for part, values in results.items() for row in _of_part(part, values)]


_TITLES = {  # part -> what it is, what its sizes count, megabytes that it may need more, ratio of time that is linear
    "names": ("chunks cut and named", "images", 50.0, 1.2),
    "listing": ("folder listed", "files", 25.0, 1.2),
    "resume": ("what is there, after an interruption", "chunks", 300.0, 1.2),
    "commits": ("commits to a table", "chunks", 300.0, 1.5),
    "reduction": ("sums of buckets reduced", "labels", 200.0, 1.5),
    "shortlists": ("labels chosen for 64 queries", "labels", 300.0, 1.5),
}


def _of_part(part: str, values: list[Measured]) -> Iterator[Row]:
    title, unit, most, steady = _TITLES[part]
    first, last = values[0], values[-1]
    sizes = f"{first.size:,} to {last.size:,} {unit}"
    each = [1e6 * value.seconds / value.size for value in values]
    more = "".join(f"; {name} {number:,.6g}" for name, number in last.more.items())
    spent = ", ".join(f"{value.size:,}: {value.seconds:.1f} s, {value.megabytes:.0f} MB" for value in values)
    added = last.megabytes - first.megabytes
    yield _row(f"simulation: {title}, memory added", added, "MB", most, "lower", f"{sizes}; {spent}{more}")
    yield _row(
        f"simulation: {title}, time for each relative to the fewest", each[-1] / each[0], "x", steady, "lower", sizes
    )
    yield _row(f"simulation: {title}, time for each", each[-1], "µs", None, "lower", f"{last.size:,} {unit}; one core")


def _row(name: str, value: float, unit: str, goal: float | None, better: Better, against: str) -> Row:
    return Row(name, float(f"{value:.3g}"), unit, goal, better, against, where("pylance", "pyarrow"), COMMAND)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Run one part of one size; `benchmarks.scale` runs all of them.")
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--step", choices=["prepare", "run"], required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    run_here(given.part, given.size, given.step, given.folder)
