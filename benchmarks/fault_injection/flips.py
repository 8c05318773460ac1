"""Flip bits in the files of an index. Each flip must be detected, or change nothing."""

from __future__ import annotations

import logging
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fault_injection import jobs
from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.calibration.loading import usable_calibration
from lmm_classifier.calibration.request import CalibrationRequest
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.index.doctor import check_index
from lmm_classifier.index.formats import write_index
from lmm_classifier.index.vector_index import Index
from lmm_classifier.pipeline.calibrator import calibrate_index

IndexState = dict[str, Any]


def read_state(path: Path) -> IndexState:
    """Return all that a result depends on."""
    index = Index.open(path)
    calibration = usable_calibration(index.contents)
    state: IndexState = {
        "paths": list(index.contents.paths),
        "labels": list(index.contents.labels),
        "hashes": list(index.hashes),
        "matrix": np.array(index.gallery.embeddings),
        "vectors": index.vectors(),
        "encoder": index.fingerprint,
        "root": index.manifest.image_root,
        "calibrated": calibration is not None,
    }
    if calibration is not None:
        state |= {f"calibration {name}": array for name, array in (index.contents.calibration or {}).items()}
    return state | {f"transform {name}": array for name, array in index.contents.vectors[0].transform_arrays.items()}


def is_same(expected: IndexState, state: IndexState) -> bool:
    """Return whether two states are equal bit for bit; `state` may lack a calibration, which the program reports."""
    names = {name for name in expected if name != "calibrated" and (state["calibrated"] or "calibration" not in name)}
    if names != set(state) - {"calibrated"} or state["calibrated"] > expected["calibrated"]:
        return False
    return all(_is_equal(expected[name], state[name]) for name in names)


def _is_equal(expected: Any, value: Any) -> bool:
    is_number = isinstance(value, np.ndarray) and value.dtype.kind == "f"  # a threshold that was not set is NaN
    return np.array_equal(expected, value, equal_nan=is_number)


def flips(count: int) -> Outcome:
    """Flip one bit at a time, read the index with and without its derived files, then let the doctor repair it."""
    outcome, detected, repaired = Outcome("flipped bit, durable index"), 0, 0
    with without_warnings(), tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        good, bad = _make_index(folder), folder / "bad"
        expected = read_state(good)
        rng = random.Random(1)
        sizes = {
            file.relative_to(good): file.stat().st_size
            for file in sorted(good.rglob("*"))
            if file.is_file() and file.stat().st_size
        }
        for number in range(count):
            shutil.rmtree(bad, ignore_errors=True)
            shutil.copytree(good, bad)
            file = rng.choices(list(sizes), list(sizes.values()) if number % 2 else None)[0]
            bit = rng.randrange(8 * sizes[file])
            flip(bad / file, bit)
            problem, is_detected = _read_twice(bad, expected)
            detected += is_detected
            if problem is None:
                problem, is_repaired = _repair(bad, folder, expected)
                repaired += is_repaired and is_detected
            outcome.add(problem and f"bit {bit} of {file}: {problem}")
    outcome.notes.append(f"{detected} detected, the others changed nothing; {repaired} repaired by doctor and build")
    return outcome


def archive_flips(count: int) -> Outcome:
    """Flip bits of an exported `.npz` file, which is checked but not repaired."""
    outcome, detected = Outcome("flipped bit, .npz file"), 0
    with without_warnings(), tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        good, bad = folder / "good.npz", folder / "bad.npz"
        write_index(good, Index.open(_make_index(folder)).contents)
        expected, data = read_state(good), good.read_bytes()
        rng = random.Random(2)
        for _ in range(count):
            bit = rng.randrange(8 * len(data))
            bad.write_bytes(data)
            flip(bad, bit)
            problem, is_detected = _read(bad, expected)
            detected += is_detected
            outcome.add(problem and f"bit {bit}: {problem}")
    outcome.notes.append(f"{detected} detected, the others changed nothing")
    return outcome


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence the log: the program warns of each flip."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _make_index(folder: Path) -> Path:
    jobs.draw_datasets(folder)
    config = PipelineConfig.offline()
    build_index_from_directory(folder / "before", folder / "good", config=config)
    calibrate_index(folder / "good", config, CalibrationRequest())
    return folder / "good"


def flip(file: Path, bit: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def _read_twice(bad: Path, expected: IndexState) -> tuple[str | None, bool]:
    """Read the index with its derived files, then without them.

    Returns the problem that was not detected (None if there is none), and whether the damage was detected.
    """
    problem, is_detected = _read(bad, expected)
    if problem is None and not is_detected:
        shutil.rmtree(bad / "derived", ignore_errors=True)
        problem, is_detected = _read(bad, expected)
    return problem, is_detected


def _read(bad: Path, expected: IndexState) -> tuple[str | None, bool]:
    try:
        state = read_state(bad)
    except LmmClassifierError as error:
        return (None, True) if str(error) else ("an error without a message", True)
    except Exception as error:  # noqa: BLE001 - any other error is a loss
        return f"{type(error).__name__}: {error}", True
    return (None, not state["calibrated"]) if is_same(expected, state) else ("a wrong result, not reported", False)


def _repair(bad: Path, folder: Path, expected: IndexState) -> tuple[str | None, bool]:
    """Let the doctor repair what it can, and a build fill the gaps. Then all but the calibration is as before.

    Returns the problem, and whether the index is repaired. An index may be beyond repair, if the message is clear.
    """
    try:
        check_index(bad, repair=True)
        build_index_from_directory(folder / "before", bad, config=PipelineConfig.offline())
        return (None, True) if is_same(expected, read_state(bad)) else ("the repair led to another index", False)
    except LmmClassifierError as error:
        is_clear = "build" in str(error) or "index" in str(error)
        return (None, False) if is_clear else (f"repair: {error}", False)
    except Exception as error:  # noqa: BLE001 - any other error is a loss
        return f"repair: {type(error).__name__}: {error}", False
