"""Flips bits in the files of an index: each must be noticed, or change nothing."""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fault_injection import jobs
from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.calibration.calibration import Calibration
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.doctor import examine
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.vector_index import ExactIndex
from lmm_classifier.pipeline.calibrator import Wish, calibrate

Seen = dict[str, Any]


def seen(path: Path) -> Seen:
    """All that an answer depends on."""
    index = ExactIndex.open(path)
    calibration = Calibration.of(index.contents)
    found: Seen = {
        "paths": list(index.contents.paths),
        "labels": list(index.contents.labels),
        "hashes": list(index.hashes),
        "matrix": np.array(index.gallery.units),
        "vectors": index.vectors(),
        "encoder": index.manifest.fingerprint,
        "root": index.manifest.image_root,
        "calibrated": calibration is not None,
    }
    return found | {f"space {name}": array for name, array in index.contents.space_state.items()}


def same(one: Seen, other: Seen) -> bool:
    """Whether two sightings are equal, bit for bit; one without a calibration was told so."""
    names = set(one) - {"calibrated"}
    if names != set(other) - {"calibrated"} or other["calibrated"] > one["calibrated"]:
        return False
    return all(np.array_equal(one[name], other[name]) for name in names)


def flips(count: int) -> Outcome:
    """Flip one bit at a time, look at the index with and without its derived files, then let the doctor mend it."""
    outcome, noticed, mended = Outcome("flipped bit, durable index"), 0, 0
    logging.disable(logging.ERROR)  # each flip is warned of
    try:
        with tempfile.TemporaryDirectory() as name:
            place = Path(name).resolve()
            good, bad = _index(place), place / "bad"
            expected = seen(good)
            dice = random.Random(1)
            every = [file for file in sorted(good.rglob("*")) if file.is_file() and file.stat().st_size]
            files = [file.relative_to(good) for file in every]
            sizes = [(good / file).stat().st_size for file in files]
            for number in range(count):
                shutil.rmtree(bad, ignore_errors=True)
                shutil.copytree(good, bad)
                file = dice.choices(files, sizes if number % 2 else None)[0]
                bit = dice.randrange(8 * (good / file).stat().st_size)
                _flip(bad / file, bit)
                problem, said = _judged(bad, expected)
                noticed += said
                if problem is None:
                    problem, is_mended = _mended(bad, place, expected)
                    mended += is_mended and said
                outcome.add(problem and f"bit {bit} of {file}: {problem}")
    finally:
        logging.disable(logging.NOTSET)
    outcome.notes.append(f"{noticed} noticed, the others changed nothing; {mended} mended by doctor and build")
    return outcome


def archive_flips(count: int) -> Outcome:
    """The same for an exported `.npz` file, which is checked but not mended."""
    outcome, noticed = Outcome("flipped bit, .npz file"), 0
    logging.disable(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as name:
            place = Path(name).resolve()
            good, bad = place / "good.npz", place / "bad.npz"
            write_index(good, ExactIndex.open(_index(place)).contents)
            expected, data = seen(good), good.read_bytes()
            dice = random.Random(2)
            for _ in range(count):
                bit = dice.randrange(8 * len(data))
                bad.write_bytes(data)
                _flip(bad, bit)
                problem, said = _compared(bad, expected)
                noticed += said
                outcome.add(problem and f"bit {bit}: {problem}")
    finally:
        logging.disable(logging.NOTSET)
    outcome.notes.append(f"{noticed} noticed, the others changed nothing")
    return outcome


def _index(place: Path) -> Path:
    jobs.draw_corpora(place)
    config = PipelineConfig.offline()
    build_index_from_directory(place / "before", place / "good", config=config)
    calibrate(place / "good", config, Wish())
    return place / "good"


def _flip(file: Path, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def _judged(bad: Path, expected: Seen) -> tuple[str | None, bool]:
    """What went unnoticed (None if nothing), and whether the damage was noticed."""
    problem, noticed = _compared(bad, expected)
    if problem is None and not noticed:
        shutil.rmtree(bad / "derived", ignore_errors=True)
        problem, noticed = _compared(bad, expected)
    return problem, noticed


def _compared(bad: Path, expected: Seen) -> tuple[str | None, bool]:
    try:
        found = seen(bad)
    except LmmClassifierError as error:
        return (None, True) if str(error) else ("an error without words", True)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what this looks for
        return f"{type(error).__name__}: {error}", True
    return (None, not found["calibrated"]) if same(expected, found) else ("another answer, and nobody was told", False)


def _mended(bad: Path, place: Path, expected: Seen) -> tuple[str | None, bool]:
    """The doctor mends what it can, a build fills the gaps: then all is as it was, but for the calibration.

    What went wrong, and whether it is mended: that an index is beyond mending may be said, if clearly.
    """
    try:
        examine(bad, repair=True)
        build_index_from_directory(place / "before", bad, config=PipelineConfig.offline())
        return (None, True) if same(expected, seen(bad)) else ("mending led to another index", False)
    except LmmClassifierError as error:
        return (None, False) if "build" in str(error) or "index" in str(error) else (f"mending: {error}", False)
    except Exception as error:  # noqa: BLE001
        return f"mending: {type(error).__name__}: {error}", False
