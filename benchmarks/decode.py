"""From JPEG files to the pixels that an encoder gets, compared with plain Pillow in one thread."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.real_shapes import photographs
from benchmarks.rows import Row, run_part, where
from benchmarks.side_by_side import in_turns, ratio
from lmm_classifier.core.concurrency import cpu_count, threaded_map
from lmm_classifier.data.images import read_image
from lmm_classifier.embeddings.preprocessing import Bytes, Preprocessing

COMMAND = "python -m benchmarks.performance --only decode"
SIDE = 384
PREPROCESSING = Preprocessing(size=SIDE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SIZES = (((400, 300), 200), ((1024, 768), 80), ((4000, 3000), 8))  # pixels, images


def decode_with_pillow(path: Path) -> Bytes:
    """Decode and resize with Pillow alone."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def decode_as_build(path: Path) -> Bytes:
    """Decode and resize as a build does in each of its threads."""
    return PREPROCESSING.preprocess(read_image(path, min_side=SIDE).image)


def decode_all(paths: list[Path], threads: int) -> None:
    for _ in threaded_map(decode_as_build, paths, threads):
        pass


def rows_of_size(folder: Path, size: tuple[int, int], count: int, rounds: int) -> list[Row]:
    """Return the rows for images of one size."""
    paths = photographs(folder, count, size)
    threads = min(2, cpu_count())
    jobs: dict[str, Callable[[], object]] = {
        "pillow": lambda: [decode_with_pillow(path) for path in paths],
        f"{threads} threads": partial(decode_all, paths, threads),
        "1 thread": partial(decode_all, paths, 1),
    }
    times = in_turns(jobs, rounds)
    difference = max(
        int(np.abs(decode_as_build(path).astype(int) - decode_with_pillow(path)).max()) for path in paths[:20]
    )
    rate = count / times["pillow"].median
    against = f"{count} JPEGs of {size[0]}x{size[1]} to {SIDE} px; plain Pillow, serial, {rate:.0f}/s"
    name, place = f"decode {size[0]}x{size[1]}", where("cykooz-resizer")
    rows = []
    for job, goal in ((f"{threads} threads", 4.5 if size == (1024, 768) else None), ("1 thread", None)):
        value, spread = ratio(times["pillow"], times[job])
        full_name = f"{name}, {job}: speed relative to serial Pillow"
        rows.append(Row(full_name, round(value, 2), "x", goal, "higher", against, place, COMMAND, spread))
    full_name = f"{name}: largest difference from Pillow"
    return [*rows, Row(full_name, difference, "of 255 levels", 2, "lower", against, place, COMMAND)]


def rows(quick: bool = False) -> list[Row]:
    """Measure all sizes."""
    measured = []
    with tempfile.TemporaryDirectory() as name:
        for size, count in SIZES:
            folder = Path(name) / str(size[0])
            measured += rows_of_size(folder, size, max(count // 4, 4) if quick else count, 3 if quick else 7)
    return measured


if __name__ == "__main__":
    run_part("decode", __doc__, rows)
