"""Try every fault, print a table, and write `benchmarks/results/reliability.json`; exit with 1 if anything is lost."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.fault_injection.appended import appended_results
from benchmarks.fault_injection.blame import blame
from benchmarks.fault_injection.cache_flips import cache_flips
from benchmarks.fault_injection.decode_cost import decode_cost
from benchmarks.fault_injection.determinism import determinism
from benchmarks.fault_injection.edits import edits
from benchmarks.fault_injection.flips import archive_flips, flips
from benchmarks.fault_injection.hostile import archives, configurations, names
from benchmarks.fault_injection.images import malformed, mutations
from benchmarks.fault_injection.interruptions import interruptions
from benchmarks.fault_injection.outcome import Outcome
from benchmarks.fault_injection.run_flips import run_flips
from benchmarks.fault_injection.servers import forks, rate_limits, servers
from benchmarks.fault_injection.writers import leftovers, read_only, small_disk, writers
from benchmarks.rows import RESULTS, where

COMMAND = "make reliability"


def suite(badimages: Path | None, fraction: float) -> Iterable[Callable[[], list[Outcome]]]:
    """Yield the faults, each with the number of its tries; `fraction` makes the suite shorter."""

    def scaled(count: int) -> int:
        return max(round(count * fraction), 1)

    yield lambda: interruptions(scaled(720), scaled(200), scaled(3000))
    yield lambda: appended_results(scaled(120), scaled(30), scaled(90))
    yield lambda: [flips(scaled(1000)), archive_flips(scaled(200)), *cache_flips(scaled(1500))]
    yield lambda: [run_flips(scaled(3000))]
    yield lambda: [malformed(badimages), mutations(scaled(100_000))]
    yield lambda: [*decode_cost(fraction), blame(scaled(10))]
    yield lambda: [archives(scaled(2000)), configurations(scaled(5000)), names()]
    yield lambda: [servers(scaled(200)), rate_limits(scaled(40)), forks(scaled(50))]
    yield lambda: [leftovers(), writers(scaled(10)), small_disk(), read_only(), determinism()]
    yield lambda: [edits(scaled(1000))]


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes as text, one fault per line."""
    lines = [f"{'fault':<28}{'tried':>8}{'survived':>10}{'lost':>6}  notes"]
    for outcome in outcomes:
        numbers = f"{outcome.tried:>8}{outcome.survived:>10}{outcome.lost:>6}"
        notes = f"not tried: {outcome.skipped}" if outcome.skipped else "; ".join(outcome.notes)
        lines.append(f"{outcome.fault:<28}{numbers}  {notes}")
    return "\n".join(lines)


def main() -> int:
    """Run the suite."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fault_injection", description=__doc__)
    parser.add_argument("--badimages", type=Path, help="a tar file of malformed images")
    parser.add_argument(
        "--fraction", type=float, default=1.0, help="fraction of all tries, such as 0.01 for a short run (default: 1)"
    )
    arguments = parser.parse_args()
    started, outcomes = time.monotonic(), list[Outcome]()
    for fault in suite(arguments.badimages, arguments.fraction):
        outcomes += fault()
        print(f"{len(outcomes)} faults tried, {time.monotonic() - started:.0f} s", file=sys.stderr)
    print(table(outcomes))
    if arguments.fraction >= 1:
        seconds = round(time.monotonic() - started)
        run = {"where": where(), "command": COMMAND, "seconds": seconds, "faults": list(map(vars, outcomes))}
        (RESULTS / "reliability.json").write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    return 1 if any(outcome.lost for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
