"""Measure all figures of speed and memory with one command; each part runs in a process of its own.

`--only` runs some parts and keeps the rows of the others. `--quick` is for trying the suite out, and writes nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict

from benchmarks.rows import Row, print_rows, read_rows, write_rows

PARTS = ("encoders", "decode", "end_to_end", "search", "million", "opening", "build_memory", "start", "gpu")
_MARK = "rows: "
# Set on some machines for old builds of OpenBLAS. They slow numpy and faiss down, and a peer is to run at its best.
_SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def measure_part(name: str, quick: bool) -> list[Row]:
    """Return the rows of one part, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.performance", "--part", name, *(["--quick"] if quick else [])]
    environment = {key: value for key, value in os.environ.items() if key not in _SLOWING}
    environment["HF_HUB_OFFLINE"] = "1"
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if process.returncode:
        raise SystemExit(f"The part `{name}` failed with exit code {process.returncode}.")
    (line,) = [line for line in process.stdout.splitlines() if line.startswith(_MARK)]
    return [Row(**row) for row in json.loads(line.removeprefix(_MARK))]


def part_of(row: Row) -> str:
    """Return the part that a row was measured by."""
    return next(part for part in PARTS if row.command.endswith((f" {part}", f".{part}")))


def main() -> None:
    """Measure and write benchmarks/results/performance.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to measure")
    parser.add_argument("--quick", action="store_true", help="smaller sizes; nothing is written")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        rows = importlib.import_module(f"benchmarks.{arguments.part}").rows(arguments.quick)
        print(_MARK + json.dumps([asdict(row) for row in rows]))
        return
    measured = [row for row in read_rows("performance") if part_of(row) not in arguments.only]
    for part in arguments.only:
        started = time.monotonic()
        new = measure_part(part, arguments.quick)
        measured += new
        print(f"{part}: {time.monotonic() - started:.0f} s", flush=True)
        if arguments.quick:
            print_rows(new)
        else:
            write_rows("performance", sorted(measured, key=lambda row: PARTS.index(part_of(row))))


if __name__ == "__main__":
    main()
