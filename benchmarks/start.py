"""How long the command takes to start, beside a Python that does nothing, and what it loads for one picture."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.real_shapes import Shape, photographs
from benchmarks.rows import Row, where, write_rows

COMMAND = "python -m benchmarks.performance --only start"
TINY = Shape("tiny", 56, 14, 64, 128, 2, 2)
LISTED = """
import sys
from lmm_classifier.cli.app import main
sys.argv[1:] = {arguments!r}
try:
    main()
except SystemExit:
    pass
print(sum(name in sys.modules for name in ("torch", "transformers")))
"""


def milliseconds(command: list[str], runs: int) -> tuple[float, str]:
    """Median wall time of a command, and the least and largest."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times), f"{min(times):.3g} to {max(times):.3g}"


def one_picture(work: Path, form: str, runs: int) -> list[Row]:
    """Rows for classifying one picture with an exported encoder, Python's own start included."""
    checkpoint = TINY.save(work / "checkpoint")
    program = [sys.executable, "-m", "lmm_classifier"]
    paths = photographs(work / "pictures", 12, (640, 480))
    exported, index = str(work / form), str(work / f"index-{form}")
    options = [
        "--set",
        f"encoder.backend={form}",
        "--set",
        f"encoder.model={exported}",
        "--set",
        "rerank.enabled=false",
    ]
    for command in (
        ["export", "--encoder", form, "--set", f"encoder.model={checkpoint}", "--output", exported],
        ["build", str(work / "pictures"), "--output", index, *options],
        ["calibrate", index, *options],
    ):
        subprocess.run([*program, *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    arguments = ["classify", str(paths[0]), "--index", index, *options]
    value, spread = milliseconds([*program, *arguments], runs)
    listed = [sys.executable, "-c", LISTED.format(arguments=arguments)]
    heavy = int(subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split()[-1])
    on, place = (
        f"a tiny SigLIP exported to {form}, 12 examples, calibrated; median of {runs}",
        where(form, "onnxruntime"),
    )
    return [
        Row(f"start: classify one picture, {form}", round(value), "ms", None, "lower", on, place, COMMAND, spread),
        Row(f"start: torch and transformers loaded, {form}", heavy, "of 2", 0, "lower", on, place, COMMAND),
    ]


def rows(quick: bool = False) -> list[Row]:
    """Help texts and one picture."""
    runs = 3 if quick else 15
    program = str(Path(sys.executable).parent / "lmm-classifier")
    empty, _ = milliseconds([sys.executable, "-c", "pass"], runs)
    against, found = f"median of {runs}; an empty Python takes {empty:.0f} ms", []
    for arguments in (["--help"], ["classify", "--help"]):
        value, spread = milliseconds([program, *arguments], runs)
        name = f"start: lmm-classifier {' '.join(arguments)}"
        place = where("typer", "rich")
        found.append(Row(name, round(value), "ms", 300, "lower", against, place, COMMAND, spread))
    with tempfile.TemporaryDirectory() as name:
        for form in ("openvino", "onnx"):
            found += one_picture(Path(name), form, runs)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    write_rows("start", rows(parser.parse_args().quick))
