"""What the limits of decoding cost ordinary JPEGs: processor time against another checkout, image by image in turns."""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.real_shapes import photographs
from benchmarks.rows import Row, print_rows, where, write_rows

COMMAND = "python -m benchmarks.decode_limits --former CHECKOUT --photos FOLDER"
ROUNDS = 20
GOAL = 2.0  # percent
_ROOT = Path(__file__).parents[1]
_SIDE = 384  # pixels that the encoder needs


def reader_of(checkout: Path) -> Callable[..., Any]:
    """Import `read_image` from a checkout; what is imported already from another one stays in use there.

    Both run in one process, because where memory lies changes the time of a decode by more than what is measured.
    """
    for name in [name for name in sys.modules if name.partition(".")[0] == "lmm_classifier"]:
        del sys.modules[name]
    sys.path.insert(0, str(checkout.absolute()))
    try:
        module = import_module("lmm_classifier.data.images")
    finally:
        del sys.path[0]
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(checkout.absolute()), f"{checkout} is not a checkout"
    reader: Callable[..., Any] = module.read_image
    return reader


def upper_bound(ratios: Sequence[float]) -> float:
    """Return the upper end of a 95% interval (one-sided) of the mean, by Student's t for 20 rounds."""
    return statistics.mean(ratios) + 1.729 * statistics.stdev(ratios) / math.sqrt(len(ratios))


def round_of(readers: Sequence[Callable[..., Any]], paths: Sequence[Path], number: int) -> list[float]:
    """Return the seconds of each reader for all files; for each file the readers take turns, in alternating order."""
    seconds = [0.0] * len(readers)
    for position, path in enumerate(paths):
        order = range(len(readers)) if (position + number) % 2 else reversed(range(len(readers)))
        for reader in order:
            started = time.thread_time()
            readers[reader](path, min_side=_SIDE)
            seconds[reader] += time.thread_time() - started
    return seconds


def rows_of(name: str, paths: Sequence[Path], readers: Sequence[Callable[..., Any]], rounds: int) -> list[Row]:
    """Return the rows for one set of files."""
    round_of(readers, paths, 0)  # not counted: files get into the cache, libraries are loaded
    both = [round_of(readers, paths, number) for number in range(rounds)]
    ratios = [now / before for before, now in both]
    milliseconds = 1000 * statistics.median(before for before, _ in both) / len(paths)
    against = f"{len(paths)} JPEGs, {milliseconds:.2f} ms each before; {rounds} interleaved rounds, processor time"
    percents = [100 * (ratio - 1) for ratio in ratios]
    spread = f"{min(percents):.2f} to {max(percents):.2f}"
    mean, bound = round(statistics.mean(percents), 2), round(100 * (upper_bound(ratios) - 1), 2)
    full = f"decode limits, {name}: processor time added"
    return [
        Row(full, mean, "%", None, "lower", against, where(), COMMAND, spread),
        Row(f"{full}, upper 95% bound", bound, "%", GOAL, "lower", against, where(), COMMAND),
    ]


def main() -> None:
    """Measure photographs of the data, and drawn ones of the size of a camera."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode_limits", description=__doc__)
    parser.add_argument("--former", type=Path, required=True, help="a checkout of the code to compare with")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of JPEG files")
    parser.add_argument("--quick", action="store_true", help="a few files; nothing is written")
    arguments = parser.parse_args()
    photos = sorted(arguments.photos.rglob("*.jpg"))
    photos = photos[:: max(len(photos) // (100 if arguments.quick else 600), 1)]
    rounds = 4 if arguments.quick else ROUNDS
    with tempfile.TemporaryDirectory() as name:
        camera = photographs(Path(name), 4 if arguments.quick else 12, (4000, 3000))
        readers = [reader_of(checkout) for checkout in (arguments.former, _ROOT)]
        rows = [
            *rows_of("photographs", photos, readers, rounds),
            *rows_of("camera size", camera, readers, rounds),
        ]
    if arguments.quick:
        print_rows(rows)
    else:
        write_rows("decode_limits", rows)


if __name__ == "__main__":
    main()
