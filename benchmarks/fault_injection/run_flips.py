"""Flip bits in the database of runs. Each flip must be detected, or change nothing; a repair keeps what is sound."""

from __future__ import annotations

import random
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.fault_injection import jobs
from benchmarks.fault_injection.flips import flip, without_warnings
from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import LmmClassifierError
from lmm_classifier.embeddings.registry import open_encoder
from lmm_classifier.index.build.builder import build_index_from_directory
from lmm_classifier.pipeline.classifier import HybridClassifier
from lmm_classifier.review.checks import check_runs
from lmm_classifier.review.reviewer import Reviewer
from lmm_classifier.review.storage.answer_log import AnswerLog
from lmm_classifier.review.storage.database import FILE, ReviewDatabase
from lmm_classifier.review.storage.run_store import RunStore

_DESCRIPTOR = open_encoder(PipelineConfig.offline().encoder).fingerprint
Runs = dict[tuple[str, int], Any]


def run_flips(count: int) -> Outcome:
    """Flip one bit at a time, read everything, let the doctor repair it, and read it again."""
    outcome, detected, kept = Outcome("flipped bit, runs"), 0, 0
    with without_warnings(), tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        good, bad = _reviewed(folder), folder / "bad"
        expected, data = read_runs(good), (good / FILE).read_bytes()
        rng = random.Random(4)
        for _ in range(count):
            shutil.rmtree(bad, ignore_errors=True)
            bad.mkdir()
            (bad / FILE).write_bytes(data)
            bit = rng.randrange(8 * len(data))
            flip(bad / FILE, bit)
            problem, is_detected = _read(bad, expected)
            detected += is_detected
            if problem is None:
                problem, share = _repair(bad, expected)
                kept += share == 1
            outcome.add(problem and f"bit {bit}: {problem}")
    outcome.notes.append(f"{detected} detected, the others changed nothing; in {kept} all was kept by the repair")
    return outcome


def read_runs(folder: Path) -> Runs:
    """Return all that is stored: runs, items with their vectors, answers."""
    with closing(ReviewDatabase(folder)) as database:
        store, found = RunStore(database), Runs()
        for run in store.runs():
            found["run", run.id] = run.source, run.created, run.state, run.total
            for item in store.after(run.id):
                found["item", item.id] = item.name, item.content_hash, item.result, item.decision
                found["vector", item.id] = store.vectors([item.id], _DESCRIPTOR.space_id, _DESCRIPTOR.dim)[0].tobytes()
            found |= {("answer", answer.id): answer for answer in AnswerLog(database).answers(run.id)}
        return found


def _reviewed(folder: Path) -> Path:
    """Make an index with a run, some answers, and one that was undone."""
    jobs.draw_datasets(folder)
    config = PipelineConfig.offline()
    config.retrieval.index_path, config.rerank.enabled = folder / "good", False
    build_index_from_directory(folder / "before", folder / "good", config=config)
    with HybridClassifier(config) as classifier, Reviewer(classifier) as reviewer:
        run = reviewer.classify_folder(folder / "after").id
        items = [item for item in reviewer.runs.after(run) if item.result["reason"] != "unreadable"]
        first, second, *others = (item.id for item in items)
        reviewer.teach([first], "taught")
        reviewer.decide([second], "skip")
        reviewer.decide(others[:2], "unknown")
        reviewer.undo()
    return folder / "good"


def _read(bad: Path, expected: Runs) -> tuple[str | None, bool]:
    """Return the problem that was not detected, None if there is none, and whether the damage was detected."""
    try:
        found = read_runs(bad)
    except LmmClassifierError as error:
        return (None, True) if str(error) else ("an error without a message", True)
    except Exception as error:  # noqa: BLE001 - any other error is a loss
        return f"{type(error).__name__}: {error}", True
    if found == expected:
        return None, False
    # the key of a row may be another one: then an item has no vector, as if its encoder was never asked
    gone = {key: value for key, value in found.items() if value == b""}
    is_reported = found == expected | gone and check_runs(bad)
    return (None, True) if is_reported else ("wrong runs, not reported", False)


def _repair(bad: Path, expected: Runs) -> tuple[str | None, float]:
    """Repair, and return what is wrong then, and the part of all rows that was kept."""
    try:
        check_runs(bad, repair=True)
        if not (bad / FILE).exists():
            return None, 0.0  # the whole file was set aside
        found = read_runs(bad)
    except Exception as error:  # noqa: BLE001 - after a repair nothing may fail
        return f"repair: {type(error).__name__}: {error}", 0.0
    wrong = [key for key, value in found.items() if key not in expected or not _is_part(value, expected[key])]
    return (f"the repair changed {wrong[:3]}" if wrong else None), len(found) / len(expected)


def _is_part(value: Any, expected: Any) -> bool:
    """Return whether a row is as before; an item may have lost its decision, which was damaged."""
    if isinstance(value, bytes) or value == expected:
        return bool(value in (expected, b""))  # a vector that is gone is encoded again
    return isinstance(value, tuple) and value[:-1] == expected[:-1] and not value[-1].kind
