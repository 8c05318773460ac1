"""How long `lmm-classifier --help` takes, beside a Python that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.rows import Row, where, write_rows

COMMAND = "python -m benchmarks.cli_start"


def milliseconds(command: list[str], runs: int = 15) -> float:
    """Median wall time of a command."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def main() -> None:
    """Measure and write benchmarks/results/cli_start.json."""
    program = str(Path(sys.executable).parent / "lmm-classifier")
    empty = milliseconds([sys.executable, "-c", "pass"])
    rows = []
    for arguments in (["--help"], ["classify", "--help"]):
        value = milliseconds([program, *arguments])
        name = f"lmm-classifier {' '.join(arguments)}"
        against = f"median of 15; an empty Python takes {empty:.0f} ms"
        rows.append(Row(name, round(value), "ms", 300, "lower", against, where("typer", "rich"), COMMAND))
    write_rows("cli_start", rows)


if __name__ == "__main__":
    main()
