"""The time a command takes to start, next to an empty Python, and the libraries it loads for one image."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.real_shapes import Shape, photographs
from benchmarks.rows import Row, run_part, where
from benchmarks.side_by_side import value_range

COMMAND = "python -m benchmarks.performance --only start"
TINY = Shape("tiny", 56, 14, 64, 128, 2, 2)
COUNT_HEAVY = """
import sys
from lmm_classifier.cli import main
sys.argv[1:] = {arguments!r}
try:
    main()
except SystemExit:
    pass
print(sum(name in sys.modules for name in ("torch", "transformers")))
"""


def milliseconds(command: list[str], runs: int) -> tuple[float, str]:
    """Return the median wall time of a command, and its range."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times), value_range(times)


def classify_rows(work: Path, backend: str, runs: int) -> list[Row]:
    """Classify one image with an exported encoder; the time includes Python's own start."""
    checkpoint = TINY.save(work / "checkpoint")
    program = [sys.executable, "-m", "lmm_classifier"]
    paths = photographs(work / "images", 12, (640, 480))
    exported, index = str(work / backend), str(work / f"index-{backend}")
    settings = (f"encoder.backend={backend}", f"encoder.model={exported}", "rerank.enabled=false")
    options = [argument for setting in settings for argument in ("--set", setting)]
    for command in (
        ["export-encoder", backend, "--set", f"encoder.model={checkpoint}", "--output", exported],
        ["build", str(work / "images"), "--output", index, *options],
        ["calibrate", index, *options],
    ):
        subprocess.run([*program, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    arguments = ["classify", str(paths[0]), "--index", index, *options]
    value, spread = milliseconds([*program, *arguments], runs)
    counting = [sys.executable, "-c", COUNT_HEAVY.format(arguments=arguments)]
    heavy = int(subprocess.run(counting, check=True, capture_output=True, text=True).stdout.split()[-1])
    against = f"a tiny SigLIP exported to {backend}, 12 examples, calibrated; median of {runs}"
    place = where(backend, "onnxruntime")
    name = f"start: torch and transformers loaded, {backend}"
    return [
        Row(
            f"start: classify one image, {backend}", round(value), "ms", None, "lower", against, place, COMMAND, spread
        ),
        Row(name, heavy, "of 2", 0, "lower", against, place, COMMAND),
    ]


def rows(quick: bool = False) -> list[Row]:
    """Measure the help texts and one image."""
    runs = 3 if quick else 15
    program = str(Path(sys.executable).parent / "lmm-classifier")
    empty, _ = milliseconds([sys.executable, "-c", "pass"], runs)
    against, place = f"median of {runs}; an empty Python takes {empty:.0f} ms", where("typer", "rich")
    measured = []
    for arguments in (["--help"], ["classify", "--help"]):
        value, spread = milliseconds([program, *arguments], runs)
        name = f"start: lmm-classifier {' '.join(arguments)}"
        measured.append(Row(name, round(value), "ms", 300, "lower", against, place, COMMAND, spread))
    with tempfile.TemporaryDirectory() as folder:
        for backend in ("openvino", "onnx"):
            measured += classify_rows(Path(folder), backend, runs)
    return measured


if __name__ == "__main__":
    run_part("start", __doc__, rows)
