"""What an edit costs in an index ten times as large: CPU time of add, relabel, remove and undo, in turns.

The rows are random and as long as those of MobileNetV2. The larger index is calibrated, as the smaller one is: the
report of an edit says whether the calibration is stale. The time includes opening the index and committing.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.rows import Row, run_part, where
from lmm_classifier.config import PipelineConfig
from lmm_classifier.embeddings.function import FunctionEncoder
from lmm_classifier.index.build.editor import IndexEditor
from lmm_classifier.index.contents import EncoderVectors, IndexContents
from lmm_classifier.index.formats import read_index, write_calibration, write_index
from lmm_classifier.index.manifest import EncoderEntry, Manifest
from lmm_classifier.index.staleness import ExampleDigests, vectors_digest
from lmm_classifier.testing import random_embeddings

COMMAND = "python -m benchmarks.edits"
SIZES, DIM, LABELS = (1_800, 18_000), 1280, 20
GOAL = 1.5


def free_encoder() -> FunctionEncoder:
    """Return an encoder that costs next to nothing: the vector is that of the color of the first pixel."""
    table = random_embeddings(np.random.default_rng(7), 256, DIM)
    return FunctionEncoder(lambda images: [table[image.getpixel((0, 0))[0]] for image in images], "free", DIM)


def make_index(path: Path, count: int) -> None:
    """Write an index of random vectors, calibrated to itself."""
    vectors = random_embeddings(np.random.default_rng(0), count, DIM)
    paths = sorted(f"label_{number % LABELS:03}/IMG_{number:06}.jpg" for number in range(count))
    labels = [path.partition("/")[0] for path in paths]
    hashes = [hashlib.sha256(path.encode()).hexdigest() for path in paths]
    manifest = Manifest(
        (EncoderEntry(free_encoder().fingerprint, "identity"),), count, "/no/dataset", "2026-01-01", "0"
    )
    write_index(path, IndexContents(manifest, labels, paths, hashes, (EncoderVectors({}, lambda: [vectors]),)))
    contents = read_index(path)
    digests = ExampleDigests.of(contents).to_arrays()
    write_calibration(path, contents, {**digests, "vectors": np.array([vectors_digest(contents)])})


def edits_of(editor: IndexEditor, images: Sequence[Path]) -> dict[str, Callable[[int], object]]:
    """Return the edits of one round, by name; each changes one example, and the round leaves the index as it was."""
    example = "label_003/IMG_000003.jpg"
    added = list[str]()

    def add(number: int) -> None:
        added[:] = editor.add([images[number]], "label_004").changes.added
        assert added

    return {
        "add": add,
        "relabel": lambda number: editor.relabel([example], f"label_{5 + number % 2:03}"),
        "undo": lambda _: editor.undo(),
        "remove": lambda _: editor.remove(added),
    }


def in_turns(editors: Sequence[IndexEditor], images: Sequence[Path], rounds: int) -> list[dict[str, list[float]]]:
    """Return for each editor the CPU seconds of each kind of edit; the editors take turns at every edit."""
    jobs = [edits_of(editor, images) for editor in editors]
    seconds: list[dict[str, list[float]]] = [{name: [] for name in jobs[0]} for _ in jobs]
    for number in range(rounds + 1):
        for name in jobs[0]:
            for place in range(len(jobs)) if number % 2 else reversed(range(len(jobs))):
                started = time.process_time()
                jobs[place][name](number)
                if number:  # the first round is not counted
                    seconds[place][name].append(time.process_time() - started)
    return seconds


def measure(quick: bool) -> list[Row]:
    """Return the ratio of each kind of edit."""
    sizes, rounds = ((200, 2_000), 3) if quick else (SIZES, 31)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        images = [work / f"{number}.png" for number in range(rounds + 1)]
        for number, image in enumerate(images):
            Image.new("RGB", (32, 32), (number, 0, 0)).save(image)
        for size in sizes:
            make_index(work / str(size), size)
        config = PipelineConfig.offline()
        editors = [IndexEditor(work / str(size), config, free_encoder()) for size in sizes]
        small, large = in_turns(editors, images, rounds)
    rows = []
    for kind in small:
        ratios = [more / less for less, more in zip(small[kind], large[kind], strict=True)]
        value = statistics.median(large[kind]) / statistics.median(small[kind])
        against = f"CPU of one {kind} at {sizes[1]:,} examples relative to {sizes[0]:,}; {rounds} rounds in turns"
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{kind}: {1e3 * statistics.median(small[kind]):.1f} and {1e3 * statistics.median(large[kind]):.1f} ms")
        row_name = f"{kind} of one example, {sizes[1]:,} : {sizes[0]:,} examples"
        rows.append(Row(row_name, round(value, 2), "x", GOAL, "lower", against, where(), COMMAND, spread))
    return rows


if __name__ == "__main__":
    run_part("edits", __doc__, measure)
