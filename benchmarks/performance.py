"""All figures of speed and memory with one command; each part runs in a process of its own.

`--only` runs some parts and keeps the rows of the others; `--quick` is for trying the suite out, and writes nothing.
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

from benchmarks.rows import RESULTS, Row, write_rows

PARTS = ("encoders", "decode", "end_to_end", "search", "million", "opening", "build_memory", "start", "gpu")
_MARK = "rows: "
# set on some machines for old builds of OpenBLAS; they slow numpy and faiss, and a peer is to run at its best
_SLOWING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def run_part(name: str, quick: bool) -> list[Row]:
    """The rows of one part, from a fresh process."""
    command = [sys.executable, "-m", "benchmarks.performance", "--part", name, *(["--quick"] if quick else [])]
    environment = {key: value for key, value in os.environ.items() if key not in _SLOWING}
    environment["HF_HUB_OFFLINE"] = "1"
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{name} failed")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(_MARK)]
    return [Row(**row) for row in json.loads(line.removeprefix(_MARK))]


def kept(parts: list[str]) -> list[tuple[str, Row]]:
    """The rows of the parts that are not run now, with the names of their parts."""
    file = RESULTS / "performance.json"
    if not file.exists():
        return []
    found = [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
    of = [(next(part for part in PARTS if row.command.endswith(part)), row) for row in found]
    return [(part, row) for part, row in of if part not in parts]


def main() -> None:
    """Measure and write benchmarks/results/performance.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        rows = importlib.import_module(f"benchmarks.{asked.part}").rows(asked.quick)
        print(_MARK + json.dumps([asdict(row) for row in rows]))
        return
    found = kept(asked.only)
    for part in asked.only:
        started = time.monotonic()
        found += [(part, row) for row in run_part(part, asked.quick)]
        print(f"{part}: {time.monotonic() - started:.0f} s", flush=True)
        if not asked.quick:
            write_rows("performance", [row for _, row in sorted(found, key=lambda one: PARTS.index(one[0]))])
    if asked.quick:
        for _, row in found:
            print(f"{row.name}: {row.value:g} {row.unit}")


if __name__ == "__main__":
    main()
