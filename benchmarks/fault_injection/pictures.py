"""Malformed pictures: a collection of them, and mutations of good ones, each decoded or refused in a bounded time."""

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
from lmm_classifier.data.images import ImageLimits, accepted_formats, decode
from lmm_classifier.data.synthetic.catalog import draw

HANG = 10.0  # seconds
MEMORY, P99 = 300.0, 20.0  # goals: MB of this process, milliseconds


def malformed(archive: Path | None) -> Outcome:
    """Every file of a collection of broken pictures (a tar file)."""
    if archive is None or not archive.is_file():
        return Outcome("malformed pictures", skipped="the collection is not here: --badimages FILE")
    return _apart("malformed pictures", {"archive": str(archive)})


def mutations(count: int) -> Outcome:
    """Good pictures of every format, changed at random: flipped, cut, spliced, with lengths that lie."""
    return _apart("mutated pictures", {"count": count})


def _apart(fault: str, wish: dict[str, object]) -> Outcome:
    """In a process of its own: so that a crash is seen, and the memory is that of decoding alone."""
    command = [sys.executable, "-m", "benchmarks.fault_injection.pictures", json.dumps(wish)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    outcome = Outcome(fault)
    if done.returncode:
        outcome.add(f"the process ended with {done.returncode}: {done.stderr[-300:]}")
        return outcome
    found = json.loads(done.stdout.splitlines()[-1])
    outcome.tried, outcome.lost = found["tried"], found["lost"]
    outcome.survived = outcome.tried - outcome.lost
    outcome.notes = found["notes"]
    for name, value, most in (("p99 ms", found["p99_ms"], P99), ("MB", found["megabytes"], MEMORY)):
        if value > most:
            outcome.lost += 1
            outcome.notes.append(f"{name}: {value:.1f}, more than {most:g}")
    if done.stderr:
        outcome.lost += 1
        outcome.notes.append(f"noise on the terminal: {done.stderr[:200]}")
    return outcome


def _all_of(archive: Path) -> Iterator[bytes]:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and (file := tar.extractfile(member)) is not None:
                yield file.read()


def seeds() -> list[bytes]:
    """Small good pictures: every accepted format, in several modes and compressions."""
    picture = draw("tartan", np.random.default_rng(0), 40)
    found = []
    for kind in accepted_formats():
        for image in (picture, picture.convert("L"), picture.convert("P"), picture.convert("RGBA")):
            for options in ({}, {"compression": "tiff_lzw"}) if kind == "TIFF" else ({},):
                stream = BytesIO()
                try:
                    image.save(stream, kind, **options)
                except (OSError, ValueError, KeyError):
                    continue  # not a mode of this format
                found.append(stream.getvalue())
    stream = BytesIO()
    picture.save(stream, "GIF", save_all=True, append_images=[picture.rotate(90)])
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = BytesIO()
    picture.save(turned, "JPEG", exif=exif)
    return [*found, stream.getvalue(), turned.getvalue()]


def mutated(data: bytes, dice: random.Random) -> bytes:
    """One random change, or several."""
    values = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        place = dice.randrange(len(values) or 1)
        match dice.randrange(6):
            case 0:
                values[place : place + 1] = bytes([dice.randrange(256)])
            case 1:
                values[place : place + 1] = bytes([values[place] ^ 1 << dice.randrange(8)]) if values else b""
            case 2:
                del values[place:]
            case 3:
                values[place:place] = values[dice.randrange(len(values) or 1) :][: dice.randrange(64)]
            case 4:
                del values[place : place + dice.randrange(1, 64)]
            case _:
                values[place : place + 4] = dice.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\0\0\0\1"))
    return bytes(values)


def _mutations(count: int) -> Iterator[bytes]:
    dice, good = random.Random(0), seeds()
    for _ in range(count):
        yield mutated(dice.choice(good), dice)


def decode_all(pictures: Iterable[bytes]) -> dict[str, object]:
    """Decode each, and count what came of it."""
    times, ends, bad, tried, lost = [], Counter[str](), list[str](), 0, 0
    for data in pictures:
        started, tried = time.perf_counter(), tried + 1
        try:
            image = decode(data, ImageLimits())
            ends["decoded"] += 1
            problem = None if image.mode == "RGB" and min(image.size) > 0 else f"mode {image.mode}"
        except ImageError as error:
            ends[error.kind] += 1
            problem = None if str(error) else "a refusal without words"
            if "crashed its decoder" in str(error) or "took longer" in str(error):
                ends["of these by a process that died"] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what this looks for
            problem = f"{type(error).__name__}: {error}"
        seconds = time.perf_counter() - started
        times.append(seconds)
        if seconds > HANG:
            problem = f"took {seconds:.1f} s"
        if problem is not None:
            lost += 1
            bad.append(problem)
    p99 = 1000 * float(np.quantile(times, 0.99))
    said = ", ".join(f"{number} {kind}" for kind, number in ends.most_common())
    megabytes = _megabytes()
    note = f"{said}; p99 {p99:.1f} ms, longest {1000 * max(times):.0f} ms, {megabytes:.0f} MB"
    return {"tried": tried, "lost": lost, "notes": [note, *bad[:5]], "p99_ms": p99, "megabytes": megabytes}


def _megabytes() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would tell of the process that started this one, too
        (peak,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    """Do what the command line asks for, and write what came of it as JSON."""
    wish = json.loads(sys.argv[1])
    print(json.dumps(decode_all(_all_of(Path(wish["archive"])) if "archive" in wish else _mutations(wish["count"]))))


if __name__ == "__main__":
    main()
