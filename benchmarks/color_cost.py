"""What color management costs: CPU time of decoding by this version, relative to a version without it.

Both versions decode the same photographs in turns, in one process. `--former` names the sources of the other
version, such as a worktree of an older commit, and `--photos` a folder of JPEGs.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from benchmarks.rows import Row, where, write_rows
from lmm_classifier.data.images import decode, decode_in_process
from tests.helpers.icc_profiles import rgb_profile

COMMAND = "python -m benchmarks.color_cost --former FOLDER --photos FOLDER"
ROUNDS = 20
PHOTOS = 300
QUANTILE = 1.729  # of Student's t for 20 rounds, one-sided, 95%
Decode = Callable[..., Image.Image]


def former_decoder(folder: Path) -> Decode:
    """Import the decoder from the sources of another version, next to this one's.

    Both then share the memory of one process. The speed of decoding differs more between two processes than between
    two versions.
    """
    own = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "lmm_classifier"}
    sys.path.insert(0, str(folder))
    try:
        former: Decode = importlib.import_module("lmm_classifier.data.images").decode_in_process
    finally:
        sys.path.pop(0)
        for name in [name for name in sys.modules if name.partition(".")[0] == "lmm_classifier"]:
            del sys.modules[name]
        sys.modules.update(own)
    if not inspect.getfile(former).startswith(str(folder)):
        raise SystemExit(f"{folder} has no sources of lmm_classifier")
    return former


def round_of(decoders: Sequence[Decode], contents: Sequence[bytes], min_side: int, number: int) -> list[float]:
    """Return the CPU time of each decoder for all files; for each file they take turns, in alternating order."""
    seconds = [0.0] * len(decoders)
    for position, content in enumerate(contents):
        order = range(len(decoders)) if (position + number) % 2 else reversed(range(len(decoders)))
        for decoder in order:
            started = time.thread_time()
            decoders[decoder](content, min_side=min_side or None)
            seconds[decoder] += time.thread_time() - started
    return seconds


def cost_without_profile(former: Decode, photos: Sequence[Path], min_side: int) -> Row:
    """Return the upper bound of the extra CPU time in percent."""
    contents = [photo.read_bytes() for photo in photos]
    rounds = [round_of((former, decode_in_process), contents, min_side, number) for number in range(ROUNDS + 1)]
    percent = [100 * (now / before - 1) for before, now in rounds[1:]]  # the first round warms up
    mean, error = statistics.mean(percent), statistics.stdev(percent) / len(percent) ** 0.5
    name = f"extra CPU time to decode a JPEG without a profile{f' to {min_side} px' if min_side else ''}"
    against = f"{len(photos)} photographs, {ROUNDS} rounds in turns, mean {mean:.2f}%; upper bound of 95%"
    bound = round(mean + QUANTILE * error, 2)
    return Row(name, bound, "%", 3, "lower", against, where(), COMMAND, f"{min(percent):.2f} to {max(percent):.2f}")


def cost_with_profile(photos: Sequence[Path]) -> list[Row]:
    """Return the milliseconds that profiles of sRGB and of Display P3 add to a million pixels."""
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
    former = former_decoder(arguments.former.resolve())
    without = [cost_without_profile(former, photos, side) for side in (0, 384)]
    write_rows("color_cost", [*without, *cost_with_profile(photos)])


if __name__ == "__main__":
    main()
