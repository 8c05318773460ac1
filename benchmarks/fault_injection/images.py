"""Malformed images and mutations of good ones. Each must be decoded or refused within a time limit."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.core.errors import ImageError
from lmm_classifier.data.images import accepted_formats, decode
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.synthetic.catalog import draw

HANG = 10.0  # seconds
MAX_MEMORY = 300.0  # MB of this process
GOAL_P99 = 20.0  # milliseconds on a machine that does nothing else; missing it loses nothing


def malformed(archive: Path | None) -> Outcome:
    """Decode every file of a collection of broken images (a tar file)."""
    if archive is None or not archive.is_file():
        return Outcome("malformed images", skipped="no collection is given: --badimages FILE")
    return _decode_in_process("malformed images", {"archive": str(archive)})


def mutations(count: int) -> Outcome:
    """Decode good images of every format with random changes: flipped, cut, spliced, with wrong lengths."""
    return _decode_in_process("mutated images", {"count": count})


def _decode_in_process(fault: str, request: dict[str, object]) -> Outcome:
    """Decode in a process of its own, so that a crash is detected and the memory is that of decoding alone."""
    command = [sys.executable, "-m", "benchmarks.fault_injection.images", json.dumps(request)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    outcome = Outcome(fault)
    if process.returncode:
        outcome.add(f"the process ended with {process.returncode}: {process.stderr[-300:]}")
        return outcome
    figures = json.loads(process.stdout.splitlines()[-1])
    outcome.tried, outcome.lost = figures["tried"], figures["lost"]
    outcome.survived = outcome.tried - outcome.lost
    outcome.notes = figures["notes"]
    if figures["p99_ms"] > GOAL_P99:
        outcome.notes.append(f"p99: {figures['p99_ms']:.1f} ms, the goal is {GOAL_P99:g} ms")
    if figures["megabytes"] > MAX_MEMORY:
        outcome.lost += 1
        outcome.notes.append(f"memory: {figures['megabytes']:.1f} MB, more than {MAX_MEMORY:g} MB")
    if process.stderr:
        outcome.lost += 1
        outcome.notes.append(f"output on the terminal: {process.stderr[:200]}")
    return outcome


def _all_of(archive: Path) -> Iterator[bytes]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and (file := tar.extractfile(member)) is not None:
                yield file.read()


def seeds() -> list[bytes]:
    """Return small good images: every accepted format, in several modes and compressions."""
    seed_image = draw("tartan", np.random.default_rng(0), 40)
    images = []
    for kind in accepted_formats():
        for image in (seed_image, seed_image.convert("L"), seed_image.convert("P"), seed_image.convert("RGBA")):
            for options in ({}, {"compression": "tiff_lzw"}) if kind == "TIFF" else ({},):
                stream = BytesIO()
                try:
                    image.save(stream, kind, **options)
                except (OSError, ValueError, KeyError):
                    continue  # not a mode of this format
                images.append(stream.getvalue())
    stream = BytesIO()
    seed_image.save(stream, "GIF", save_all=True, append_images=[seed_image.rotate(90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = BytesIO()
    seed_image.save(turned, "JPEG", exif=exif)
    return [*images, stream.getvalue(), turned.getvalue()]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with one random change, or several."""
    values = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        place = rng.randrange(len(values) or 1)
        match rng.randrange(6):
            case 0:
                values[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                values[place : place + 1] = bytes([values[place] ^ 1 << rng.randrange(8)]) if values else b""
            case 2:
                del values[place:]
            case 3:
                values[place:place] = values[rng.randrange(len(values) or 1) :][: rng.randrange(64)]
            case 4:
                del values[place : place + rng.randrange(1, 64)]
            case _:
                values[place : place + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\1"))
    return bytes(values)


def _mutations(count: int) -> Iterator[bytes]:
    rng, originals = random.Random(0), seeds()
    for _ in range(count):
        yield mutated(rng.choice(originals), rng)


def decode_all(images: Iterable[bytes]) -> dict[str, object]:
    """Decode each image, and count the outcomes."""
    times, outcomes, problems = list[float](), Counter[str](), list[str]()
    for data in images:
        started = time.perf_counter()
        try:
            image = decode(data, ImageLimits())
            outcomes["decoded"] += 1
            problem = None if image.mode == "RGB" and min(image.size) > 0 else f"mode {image.mode}"
        except ImageError as error:
            outcomes[error.kind] += 1
            problem = None if str(error) else "a refusal without a message"
            if "its decoder" in str(error):
                outcomes["of these by a process that crashed"] += 1
        except Exception as error:  # noqa: BLE001 - any other error is a loss
            problem = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - started
        times.append(seconds)
        if seconds > HANG:
            problem = f"took {seconds:.1f} s"
        if problem is not None:
            problems.append(problem)
    p99 = 1000 * float(np.quantile(times, 0.99))
    counts = ", ".join(f"{number} {kind}" for kind, number in outcomes.most_common())
    megabytes = _megabytes()
    note = f"{counts}; p99 {p99:.1f} ms, longest {1000 * max(times):.0f} ms, {megabytes:.0f} MB"
    return {
        "tried": len(times),
        "lost": len(problems),
        "notes": [note, *problems[:5]],
        "p99_ms": p99,
        "megabytes": megabytes,
    }


def _megabytes() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts the parent of this process too
        (peak,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Decode the images that the command line names, and print the figures as JSON."""
    request = json.loads(sys.argv[1])
    images = _all_of(Path(request["archive"])) if "archive" in request else _mutations(request["count"])
    print(json.dumps(decode_all(images)))


if __name__ == "__main__":
    main()
