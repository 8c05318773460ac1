"""The time until an index can answer, compared with the time numpy takes to load the same rows from a `.npz` file.

The rows are random and of SigLIP's size. `numpy.load` reads every array of the file that `export` writes, which is what
a reader without this program would do. Opening maps the rows, and checks them when they are first searched.
"""

from __future__ import annotations

import hashlib
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.rows import Row, run_part, where
from benchmarks.side_by_side import Times, in_turns, ratio, value_range
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.formats import read_index, write_index
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.storage.editing.change import Change
from lmm_classifier.index.storage.records import FROM_FOLDER, Record
from lmm_classifier.index.storage.snapshot import FOLDER
from lmm_classifier.index.storage.store import Store
from lmm_classifier.index.vector_index import Index
from lmm_classifier.testing import random_embeddings

COMMAND = "python -m benchmarks.opening"
ROWS, DIM, LABELS = 20_000, 1152, 100


def make_index(path: Path) -> None:
    """Write an index of random vectors of SigLIP's size."""
    vectors = random_embeddings(np.random.default_rng(0), ROWS, DIM)
    paths = sorted(f"label_{number % LABELS:03}/folder/IMG_{number:06}.jpg" for number in range(ROWS))
    labels = [path.partition("/")[0] for path in paths]
    hashes = [hashlib.sha256(path.encode()).hexdigest() for path in paths]
    fingerprint = Fingerprint("made", "made", "1", "none", DIM, "float32")
    manifest = Manifest((EncoderEntry(fingerprint, "identity"),), ROWS, "dataset", "2026-01-01", "0")
    blocks = [vectors[start : start + 1024] for start in range(0, ROWS, 1024)]
    write_index(path, IndexContents(manifest, labels, paths, hashes, (EncoderVectors({}, lambda: blocks),)))


def load_archive(archive: Path) -> None:
    """Read every array of the file into memory."""
    with np.load(archive) as arrays:
        assert sum(len(arrays[name]) for name in arrays.files) >= ROWS


def add_example(index: Path, number: int) -> None:
    """Add one example, as another writer would."""
    content = hashlib.sha256(f"new {number}".encode()).hexdigest()
    with Store(index) as store:
        manifest = store.manifest()
        assert manifest is not None
        vector = random_embeddings(np.random.default_rng(number), 1, DIM)[0]
        store.put_vectors({manifest.space_ids[0]: [(content, vector)]})
        record = Record(f"label_000/{content}.jpg", "label_000", content, 1, 1, "", FROM_FOLDER)
        store.commit(Change([record]), manifest)


def seconds_after_additions(index: Path, rounds: int) -> Iterator[float]:
    """Yield the seconds to open the index after each of `rounds` additions."""
    for number in range(rounds):
        add_example(index, number)
        started = time.perf_counter()
        Index.open(index)
        yield time.perf_counter() - started


def measure(work: Path, rounds: int) -> tuple[dict[str, Times], float]:
    """Return the times of each job, run in turns, and the bytes that the table of examples takes per example."""
    index, archive = work / "index", work / "index.npz"
    make_index(index)
    write_index(archive, read_index(index))  # an export; reading makes the derived files too
    (table,) = (index / FOLDER).glob("*.table")
    bytes_per_example = table.stat().st_size / ROWS
    jobs = {
        "numpy": lambda: load_archive(archive),
        "open": lambda: Index.open(index),
        "checked": lambda: Index.open(index).gallery,
        "npz": lambda: Index.open(archive),
    }
    times = in_turns(jobs, rounds)
    times["added"] = Times(tuple(itertools.islice(seconds_after_additions(index, rounds), 1, None)))
    return times, bytes_per_example


def rows(quick: bool = False) -> list[Row]:
    """Measure in a few seconds; with `quick` in fewer rounds."""
    rounds = 5 if quick else 21
    with tempfile.TemporaryDirectory() as name:
        times, bytes_per_example = measure(Path(name), rounds)
    size, place = f"{ROWS:,} x {DIM}", where()
    faster, spread = ratio(times["numpy"], times["open"])
    against = f"numpy.load of all arrays of the exported .npz, {1000 * times['numpy'].median:.1f} ms; {rounds} rounds"

    def time_row(name: str, job: str, note: str) -> Row:
        milliseconds = [1000 * seconds for seconds in times[job].seconds]
        value, full_name = round(1000 * times[job].median, 2), f"opening {size}, {name}"
        return Row(full_name, value, "ms", None, "lower", note, place, COMMAND, value_range(milliseconds))

    speed = f"opening {size}, durable index: speed relative to numpy.load"
    table = "opening: size of the table of examples"
    note = "paths of 34 bytes, SHA-256, labels"
    return [
        Row(speed, round(faster, 1), "x", 20, "higher", against, place, COMMAND, spread),
        time_row("durable index", "open", "derived files current"),
        time_row("durable index, with a check of the matrix", "checked", "all checksums, as the first search does"),
        time_row("durable index, after one addition", "added", "new derived files are made"),
        time_row(".npz", "npz", "every row read, checked and transformed"),
        Row(table, round(bytes_per_example, 1), "bytes/image", None, "lower", note, place, COMMAND),
    ]


if __name__ == "__main__":
    run_part("opening", __doc__, rows)
