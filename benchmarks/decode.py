"""From JPEG files to the pixels that an encoder sees, against plain Pillow, one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.real_shapes import photographs
from benchmarks.rows import Row, where, write_rows
from benchmarks.side_by_side import in_turns, ratio
from lmm_classifier.core.concurrency import in_threads, processors
from lmm_classifier.data.images import read_picture
from lmm_classifier.embeddings.preprocessing import Bytes, Preprocessing

COMMAND = "python -m benchmarks.performance --only decode"
SIDE = 384
SEEN = Preprocessing(size=SIDE, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SIZES = (((400, 300), 200), ((1024, 768), 80), ((4000, 3000), 8))  # pixels, pictures


def pillow(path: Path) -> Bytes:
    """What everybody writes."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def ours(path: Path) -> Bytes:
    """What a build does in each of its threads."""
    return SEEN.prepare(read_picture(path, min_side=SIDE).image)


def every(paths: list[Path], threads: int) -> None:
    for _ in in_threads(ours, paths, threads):
        pass


def of_size(folder: Path, size: tuple[int, int], count: int, rounds: int) -> list[Row]:
    """Rows for pictures of one size."""
    paths = photographs(folder, count, size)
    threads = min(2, processors())
    jobs: dict[str, Callable[[], object]] = {
        "pillow": lambda: [pillow(path) for path in paths],
        "ours": partial(every, paths, threads),
        "one thread": partial(every, paths, 1),
    }
    times = in_turns(jobs, rounds)
    far = max(int(np.abs(ours(path).astype(int) - pillow(path)).max()) for path in paths[:20])
    rate = count / times["pillow"].median
    on = f"{count} JPEGs of {size[0]}x{size[1]} to {SIDE} px; plain Pillow, serial, {rate:.0f}/s"
    found = []
    for name, said, goal in (
        (
            "ours",
            f"decode {size[0]}x{size[1]}, {threads} threads : Pillow serial",
            4.5 if size == (1024, 768) else None,
        ),
        ("one thread", f"decode {size[0]}x{size[1]}, 1 thread : Pillow serial", None),
    ):
        value, spread = ratio(times["pillow"], times[name])
        found.append(Row(said, round(value, 2), "x", goal, "higher", on, where("cykooz-resizer"), COMMAND, spread))
    name = f"decode {size[0]}x{size[1]}, farthest from Pillow"
    return [*found, Row(name, far, "of 255 levels", 2, "lower", on, where("cykooz-resizer"), COMMAND)]


def rows(quick: bool = False) -> list[Row]:
    """All sizes."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        for size, count in SIZES:
            part = Path(name) / str(size[0])
            found += of_size(part, size, max(count // 4, 4) if quick else count, 3 if quick else 7)
    return found


if __name__ == "__main__":
    write_rows("decode", rows())
