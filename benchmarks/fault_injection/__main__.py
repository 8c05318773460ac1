"""Tries every fault, prints a table, writes `benchmarks/results/reliability.json`; exits with 1 if any is lost."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.fault_injection.determinism import determinism
from benchmarks.fault_injection.flips import archive_flips, flips
from benchmarks.fault_injection.hostile import archives, configurations, names
from benchmarks.fault_injection.interruptions import interruptions
from benchmarks.fault_injection.outcome import Outcome
from benchmarks.fault_injection.pictures import malformed, mutations
from benchmarks.fault_injection.writers import leftovers, read_only, small_disk, writers
from benchmarks.rows import RESULTS, where

COMMAND = "make reliability"


def suite(badimages: Path | None, share: float) -> Iterable[Callable[[], list[Outcome]]]:
    """The faults, each with the number of its tries; `share` makes it shorter."""

    def some(count: int) -> int:
        return max(round(count * share), 1)

    yield lambda: interruptions(some(720), some(200), some(3000))
    yield lambda: [flips(some(1000)), archive_flips(some(200))]
    yield lambda: [malformed(badimages), mutations(some(100_000))]
    yield lambda: [archives(some(2000)), configurations(some(5000)), names()]
    yield lambda: [leftovers(), writers(some(10)), small_disk(), read_only(), determinism()]


def table(outcomes: Iterable[Outcome]) -> str:
    """The outcomes as text, fault by fault."""
    lines = [f"{'fault':<28}{'tried':>8}{'survived':>10}{'lost':>6}  notes"]
    for one in outcomes:
        numbers = f"{one.tried:>8}{one.survived:>10}{one.lost:>6}"
        lines.append(
            f"{one.fault:<28}{numbers}  {'not tried: ' + one.skipped if one.skipped else '; '.join(one.notes)}"
        )
    return "\n".join(lines)


def main() -> int:
    """Run the suite."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fault_injection", description=__doc__)
    parser.add_argument("--badimages", type=Path, help="a tar file of malformed pictures")
    parser.add_argument("--share", type=float, default=1.0, help="of all tries: 0.01 is a quick look (default: 1)")
    asked = parser.parse_args()
    started, outcomes = time.monotonic(), []
    for fault in suite(asked.badimages, asked.share):
        outcomes += fault()
        print(f"{len(outcomes)} faults tried, {time.monotonic() - started:.0f} s", file=sys.stderr)
    print(table(outcomes))
    if asked.share >= 1:
        found = {"where": where(), "command": COMMAND, "seconds": round(time.monotonic() - started)}
        rows = [{**vars(one)} for one in outcomes]
        text = json.dumps({**found, "faults": rows}, indent=1)
        (RESULTS / "reliability.json").write_text(text + "\n", encoding="utf-8")
    return 1 if any(one.lost for one in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
