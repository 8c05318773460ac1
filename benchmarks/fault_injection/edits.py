"""Edit an index that a running classifier uses, again and again: it must follow, and free every former version."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.fault_injection import jobs
from benchmarks.fault_injection.outcome import Outcome
from lmm_classifier.config import PipelineConfig
from lmm_classifier.data.synthetic.catalog import KNOWN, draw
from lmm_classifier.pipeline.calibrator import CalibrationRequest, calibrate_index
from lmm_classifier.pipeline.classifier import HybridClassifier

MOST_GROWTH = 20.0  # MB of resident memory
_ROOT = Path(__file__).parents[2]


def edits(count: int) -> Outcome:
    """Make `count` edits in a process of its own, and classify an image after each."""
    outcome = Outcome("edits of a running classifier")
    if not Path("/proc/self/statm").is_file():
        outcome.skipped = "needs the memory figures of Linux"
        return outcome
    env = {**os.environ, "PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.fault_injection.edits", str(count)]
    process = subprocess.run(command, env=env, capture_output=True, text=True, check=False, cwd=_ROOT)
    if process.returncode:
        raise RuntimeError(f"The edits themselves failed: {process.stderr[-3000:]}")
    figures = json.loads(process.stdout.splitlines()[-1])
    for problem in figures["problems"]:
        outcome.add(problem)
    outcome.notes.append(
        f"resident memory {figures['start']:.1f} MB at the start, {figures['growth']:+.1f} MB at the end; "
        f"{figures['deleted']} deleted files open"
    )
    growth = f"memory grew by {figures['growth']:.1f} MB" if figures["growth"] > MOST_GROWTH else None
    outcome.add(f"{figures['deleted']} deleted files are open" if figures["deleted"] else growth)
    return outcome


def _resident() -> float:
    """Return the resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _deleted_files(folder: Path) -> int:
    """Return how many deleted files of `folder` this process has open or mapped."""
    names = [os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()]
    names += Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return sum(str(folder) in name and "(deleted)" in name for name in names)


def _run(folder: Path, count: int) -> dict[str, object]:
    jobs.draw_datasets(folder)
    index = folder / "index"
    jobs.build(folder, index)
    config = PipelineConfig.offline()
    config.retrieval.index_path = index
    config.retrieval.confidence_threshold = 1.0  # every image is ambiguous, so that the reranker is asked too
    calibrate_index(index, config, CalibrationRequest())
    classifier, image = HybridClassifier(config), draw(KNOWN[0], np.random.default_rng(99), 32)
    editor = classifier.editor()
    classifier.classify(image)
    start, problems = _resident(), list[str | None]()
    example, extra = f"{KNOWN[1]}/1.png", folder / "extra" / "0.png"
    for number in range(count):
        match number % 4:
            case 0:
                editor.relabel([example], KNOWN[2])
            case 1:
                editor.relabel([example], KNOWN[1])
            case 2:
                editor.add([extra], KNOWN[3])
            case 3:
                editor.remove([path for path in editor.examples_of(KNOWN[3]) if path.startswith(".added/")])
        classifier.classify(image)
        labels = dict(zip(classifier.index.contents.paths, classifier.index.contents.labels))
        is_current = labels[example] == (KNOWN[2] if number % 4 == 0 else KNOWN[1])
        is_current = is_current and len(labels) == 16 + (number % 4 == 2)
        problems.append(None if is_current else f"edit {number}: the classifier has another version")
    return {
        "start": start,
        "growth": _resident() - start,
        "deleted": _deleted_files(folder),
        "problems": problems,
    }


def main() -> None:
    """Make the edits, and print the figures as JSON."""
    logging.disable(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps(_run(Path(name).resolve(), int(sys.argv[1]))))


if __name__ == "__main__":
    main()
