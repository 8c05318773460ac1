"""What the limits of decoding cost ordinary JPEGs: processor time against another checkout, in interleaved rounds."""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from benchmarks.real_shapes import photographs
from benchmarks.rows import Row, print_rows, where, write_rows

COMMAND = "python -m benchmarks.decode_limits --former CHECKOUT --photos FOLDER"
ROUNDS = 20
GOAL = 2.0  # percent
_ROOT = Path(__file__).parents[1]
# Memory stays with the process: else it depends on the layout of the heap whether each image gets fresh pages, 15%.
_ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(1 << 28), "MALLOC_MMAP_THRESHOLD_": str(1 << 28)}
_BLOCK = 20  # files that one process decodes before it is the other's turn, so that other work affects both alike
# decodes a block of files for each line that it gets; answers with processor time in seconds
_DECODER = """
import sys, time
from pathlib import Path
from lmm_classifier.data.images import read_image
paths = [Path(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
for line in sys.stdin:
    block = paths[int(line):int(line) + BLOCK]
    started = time.process_time()
    for path in block:
        read_image(path, min_side=384)
    print(time.process_time() - started, flush=True)
""".replace("BLOCK", str(_BLOCK))


def upper_bound(ratios: Sequence[float]) -> float:
    """Return the upper end of a 95% interval (one-sided) of the mean, by Student's t for 20 rounds."""
    return statistics.mean(ratios) + 1.729 * statistics.stdev(ratios) / math.sqrt(len(ratios))


@contextmanager
def decoder(checkout: Path, listing: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process that decodes the files of `listing` with the code of `checkout`."""
    command = [sys.executable, "-c", _DECODER, str(listing)]
    env = {**os.environ, **_ALLOCATOR, "PYTHONPATH": str(checkout)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=checkout
    ) as process:
        yield process
        _pipe(process.stdin).close()


def seconds_of_block(process: subprocess.Popen[str], start: int) -> float:
    """Let a process decode a block of files, and return its processor time."""
    _pipe(process.stdin).write(f"{start}\n")
    _pipe(process.stdin).flush()
    return float(_pipe(process.stdout).readline())


def seconds_of_round(processes: Sequence[subprocess.Popen[str]], count: int) -> list[float]:
    """Return the processor time of each process for all files; they take turns, block by block."""
    seconds = [0.0] * len(processes)
    for number, start in enumerate(range(0, count, _BLOCK)):
        for position in range(len(processes)) if number % 2 else reversed(range(len(processes))):
            seconds[position] += seconds_of_block(processes[position], start)
    return seconds


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def compare(paths: Sequence[Path], former: Path, rounds: int) -> tuple[list[float], float]:
    """Return the cost of each round relative to the former code, and milliseconds per image of the former code."""
    with ExitStack() as stack:
        listing = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "paths.txt"
        listing.write_text("\n".join(str(path.absolute()) for path in paths), encoding="utf-8")
        processes = [stack.enter_context(decoder(checkout, listing)) for checkout in (former, _ROOT)]
        seconds_of_round(processes, len(paths))  # not counted: files get into the cache, libraries are loaded
        rounds_of_both = [seconds_of_round(processes, len(paths)) for _ in range(rounds)]
    ratios = [now / before for before, now in rounds_of_both]
    milliseconds = 1000 * statistics.median(before for before, _ in rounds_of_both) / len(paths)
    return ratios, milliseconds


def rows_of(name: str, paths: Sequence[Path], former: Path, rounds: int) -> list[Row]:
    """Return the rows for one set of files."""
    ratios, milliseconds = compare(paths, former, rounds)
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
    """Measure photographs of the data, and drawn ones of the size of a camera, plain and progressive."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode_limits", description=__doc__)
    parser.add_argument("--former", type=Path, required=True, help="a checkout of the code to compare with")
    parser.add_argument("--photos", type=Path, required=True, help="a folder of JPEG files")
    parser.add_argument("--quick", action="store_true", help="a few files; nothing is written")
    arguments = parser.parse_args()
    photos = sorted(arguments.photos.rglob("*.jpg"))
    rounds = 4 if arguments.quick else ROUNDS
    with tempfile.TemporaryDirectory() as name:
        camera = photographs(Path(name), 4 if arguments.quick else 12, (4000, 3000))
        rows = rows_of("photographs", photos[:: max(len(photos) // (100 if arguments.quick else 600), 1)],
                       arguments.former, rounds)  # fmt: skip
        rows += rows_of("camera size", camera, arguments.former, rounds)
    print_rows(rows) if arguments.quick else write_rows("decode_limits", rows)


if __name__ == "__main__":
    main()
