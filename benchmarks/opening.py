"""How long it takes until an index can answer, against what numpy takes to load the same rows from a `.npz` file.

Made rows of SigLIP's size. `numpy.load` reads every array of the file that `export` writes, which is what a reader
without this program would do; opening maps the rows and checks them when they are first searched.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.rows import Row, where, write_rows
from benchmarks.side_by_side import Times, in_turns, ratio
from lmm_classifier.core.datatypes import Fingerprint
from lmm_classifier.index.contents import Contents
from lmm_classifier.index.formats import read_index, write_index
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.storage.records import CORPUS, Record
from lmm_classifier.index.storage.snapshot import FOLDER
from lmm_classifier.index.storage.store import Change, Store
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.testing import unit_rows

COMMAND = "python -m benchmarks.opening"
ROWS, DIM, LABELS = 20_000, 1152, 100


def made_index(path: Path) -> None:
    """An index of SigLIP's size, of made vectors."""
    vectors = unit_rows(np.random.default_rng(0), ROWS, DIM)
    paths = sorted(f"label_{number % LABELS:03}/folder/IMG_{number:06}.jpg" for number in range(ROWS))
    labels = [one.partition("/")[0] for one in paths]
    hashes = [hashlib.sha256(one.encode()).hexdigest() for one in paths]
    fingerprint = Fingerprint("made", "made", "1", "none", DIM, "float32")
    manifest = Manifest(fingerprint, "identity", ROWS, "corpus", "2026-01-01", "0")
    blocks = [vectors[start : start + 1024] for start in range(0, ROWS, 1024)]
    write_index(path, Contents(manifest, labels, paths, hashes, {}, lambda: blocks))


def loaded(archive: Path) -> None:
    """Every array of the file, in memory."""
    with np.load(archive) as found:
        assert sum(len(found[name]) for name in found.files) >= ROWS


def added(index: Path, number: int) -> None:
    """One example more, committed by another writer."""
    content = hashlib.sha256(f"new {number}".encode()).hexdigest()
    with Store(index) as store:
        manifest = store.manifest()
        assert manifest is not None
        vector = unit_rows(np.random.default_rng(number), 1, DIM)[0]
        store.keep(manifest.fingerprint.space_id, [(content, vector)])
        store.commit(Change([Record(f"label_000/{content}.jpg", "label_000", content, 1, 1, "", CORPUS)]), manifest)


def after_additions(index: Path, rounds: int) -> Iterator[float]:
    """Seconds to open the index after each of `rounds` additions."""
    for number in range(rounds):
        added(index, number)
        started = time.perf_counter()
        ExactIndex.open(index)
        yield time.perf_counter() - started


def measured(work: Path, rounds: int) -> tuple[dict[str, Times], float]:
    """The times of each job, in turns, and the bytes of the table for an example."""
    index, archive = work / "index", work / "index.npz"
    made_index(index)
    write_index(archive, read_index(index))  # an export; reading makes the derived files too
    (table,) = (index / FOLDER).glob("*.table")
    size = table.stat().st_size / ROWS
    jobs = {
        "numpy": lambda: loaded(archive),
        "open": lambda: ExactIndex.open(index),
        "checked": lambda: ExactIndex.open(index).gallery,
        "npz": lambda: ExactIndex.open(archive),
    }
    times = in_turns(jobs, rounds)
    times["added"] = Times(tuple(itertools.islice(after_additions(index, rounds), 1, None)))
    return times, size


def rows(quick: bool = False) -> list[Row]:
    """Measure in some seconds; `quick` in fewer rounds."""
    rounds = 5 if quick else 21
    with tempfile.TemporaryDirectory() as name:
        times, size = measured(Path(name), rounds)
    many, here = f"{ROWS:,} x {DIM}", where()
    faster, spread = ratio(times["numpy"], times["open"])
    against = f"numpy.load of all arrays of the exported .npz, {1000 * times['numpy'].median:.1f} ms; {rounds} rounds"

    def took(what: str, job: str, on: str) -> Row:
        seconds = times[job].seconds
        between = f"{1000 * min(seconds):.3g} to {1000 * max(seconds):.3g}"
        return Row(what, round(1000 * times[job].median, 2), "ms", None, "lower", on, here, COMMAND, between)

    return [
        Row(f"opening {many}", round(faster, 1), "x", 20, "higher", against, here, COMMAND, spread),
        took(f"opening {many}, time", "open", "the durable index, its derived files current"),
        took(f"opening {many} and checking the matrix", "checked", "all checksums, as the first search does"),
        took(f"opening {many} after one addition", "added", "new derived files are made"),
        took(f"opening {many} as .npz", "npz", "every row read, checked and taken into the space"),
        Row("opening: table of examples", round(size, 1), "bytes/picture", None, "lower",
            "paths of 34 bytes, SHA-256, labels", here, COMMAND),
    ]  # fmt: skip


def main() -> None:
    """Measure and write benchmarks/results/opening.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    write_rows("opening", rows(parser.parse_args().quick))


if __name__ == "__main__":
    main()
