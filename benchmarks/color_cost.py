"""What color management costs: CPU time of decoding by this version, relative to a version without it.

Two processes, one for each version, decode the same photographs in turns. `--former` names the sources of the other
version, such as a worktree of an older commit, and `--photos` a folder of JPEGs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from benchmarks.rows import Row, where, write_rows
from lmm_classifier.data.images import decode
from tests.helpers.icc_profiles import rgb_profile

COMMAND = "python -m benchmarks.color_cost --former FOLDER --photos FOLDER"
ROUNDS = 20
PHOTOS = 300
QUANTILE = 1.729  # of Student's t for 20 rounds, one-sided, 95%
_WORKER = """
import sys, time
from pathlib import Path
from lmm_classifier.data.images import decode_in_process
contents = [Path(line).read_bytes() for line in sys.stdin.readline().split("\\0")[:-1]]
for line in sys.stdin:
    started = time.process_time()
    for content in contents:
        decode_in_process(content, min_side=int(line) or None)
    print(time.process_time() - started, flush=True)
"""


class Decoder:
    """A process that decodes all photographs with the sources in `folder`."""

    def __init__(self, folder: Path, photos: Sequence[Path]) -> None:
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WORKER], stdin=pipe, stdout=pipe, text=True, env=environment, cwd=folder
        )
        self._ask("".join(f"{photo}\0" for photo in photos))

    def seconds(self, min_side: int) -> float:
        """Return the CPU time of decoding all of them once."""
        self._ask(str(min_side))
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())

    def _ask(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def cost_without_profile(former: Path, photos: Sequence[Path], min_side: int) -> Row:
    """Return the upper bound of the extra CPU time in percent."""
    decoders = Decoder(former, photos), Decoder(Path(__file__).parents[1], photos)
    ratios = []
    for number in range(ROUNDS + 1):
        order = decoders if number % 2 else decoders[::-1]
        seconds = {decoder: decoder.seconds(min_side) for decoder in order}
        ratios.append(seconds[decoders[1]] / seconds[decoders[0]])
    for decoder in decoders:
        decoder.close()
    percent = [100 * (value - 1) for value in ratios[1:]]  # the first round warms up
    mean, error = statistics.mean(percent), statistics.stdev(percent) / len(percent) ** 0.5
    name = f"extra CPU time to decode a JPEG without a profile{f' to {min_side} px' if min_side else ''}"
    against = f"{len(photos)} photographs, {ROUNDS} rounds in turns, mean {mean:.2f}%; upper bound of 95%"
    bound = round(mean + QUANTILE * error, 2)
    return Row(name, bound, "%", 3, "lower", against, where(), COMMAND, f"{min(percent):.2f} to {max(percent):.2f}")


def cost_with_profile(photos: Sequence[Path]) -> list[Row]:
    """Return the milliseconds that profiles of sRGB and of Display P3 add to a million pixels."""
    import time

    rows = []
    with Image.open(photos[0]) as photo:
        large = photo.convert("RGB").resize((1200, 1000))
    for name, space in (("sRGB", "srgb"), ("Display P3", "p3")):
        times = []
        for options in ({}, {"icc_profile": rgb_profile(space)}):
            stream = BytesIO()
            large.save(stream, "JPEG", quality=90, **options)
            decode(stream.getvalue())
            started = time.process_time()
            for _ in range(20):
                decode(stream.getvalue())
            times.append((time.process_time() - started) / 20)
        value = round(1000 * (times[1] - times[0]) / 1.2, 2)
        against = "a photograph of 1200 x 1000 pixels, with and without the profile"
        rows.append(Row(f"CPU time of a profile of {name}", value, "ms/MP", None, "lower", against, where(), COMMAND))
    return rows


def main() -> None:
    """Measure, and write benchmarks/results/color_cost.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--former", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    arguments = parser.parse_args()
    files = sorted(arguments.photos.rglob("*.jpg"))
    photos = files[:: max(len(files) // PHOTOS, 1)][:PHOTOS]
    without = [cost_without_profile(arguments.former.resolve(), photos, side) for side in (0, 384)]
    write_rows("color_cost", [*without, *cost_with_profile(photos)])


if __name__ == "__main__":
    main()
