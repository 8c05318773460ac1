"""Change the code that decides in small ways, and run its tests; exit with 1 if they let too many changes pass.

Writes `benchmarks/results/mutants.json`. Changes that no test can notice are listed, with the reason, in
`tests/equivalent_mutants.yaml`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.mutants.mutations import Mutant, draw, number_of_mutants
from benchmarks.mutants.survivors import FILE, described, is_listed, read_equivalents, stale
from benchmarks.mutants.targets import targets, tests_of
from benchmarks.mutants.trial import Trial, load_libraries, run
from benchmarks.rows import RESULTS, where

ROOT = Path(__file__).parent.parent.parent
GOAL = 0.9  # of all mutants, those that change nothing included
_LEAST = 6  # mutants of a module


def main() -> int:
    """Run the trials."""
    arguments = _arguments()
    started = time.monotonic()
    load_libraries(ROOT)
    paths = [path for path in targets(ROOT) if not arguments.only or any(part in path for part in arguments.only)]
    if not paths:
        raise SystemExit(f"no module that decides has one of {', '.join(arguments.only)} in its path")
    limits = baseline(paths, arguments.jobs)
    trials = [
        Trial(mutant, tests_of(ROOT, mutant.path), limits[mutant.path])
        for mutant in sample(paths, arguments.count, arguments.seed)
    ]
    done = []
    for trial in run(trials, ROOT, arguments.jobs):
        done.append(trial)
        if not arguments.quiet and trial.outcome == "survived" and trial.mutant:
            print(f"survived: {trial.mutant.path}:{trial.mutant.line}\n  - {trial.mutant.before}\n"
                  f"  + {trial.mutant.after}", flush=True)  # fmt: skip
    return report(done, arguments, time.monotonic() - started)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutants", description=__doc__)
    parser.add_argument("--count", default="500", help="mutants to try over all modules, or `all` (default: 500)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws another sample (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, help="trials at a time (default: 2)")
    parser.add_argument("--only", nargs="+", metavar="PART", help="only modules whose path contains one of these")
    parser.add_argument("--quiet", action="store_true", help="print only the table")
    return parser.parse_args()


def baseline(paths: Sequence[str], jobs: int) -> dict[str, float]:
    """Return the limit of processor time for each module's tests, which must pass on the code as it is."""
    suites = {path: tuple(sorted(tests_of(ROOT, path))) for path in paths}  # modules of one room share a run
    of_suite = {}
    for trial in run([Trial(None, tests, 600) for tests in sorted(set(suites.values()))], ROOT, jobs):
        if trial.code:
            raise SystemExit(f"the tests fail without a change (exit code {trial.code}): {' '.join(trial.tests)}")
        of_suite[tuple(trial.tests)] = 3 * trial.seconds + 5
    return {path: of_suite[suite] for path, suite in suites.items()}


def sample(paths: Sequence[str], count: str, seed: int) -> list[Mutant]:
    """Draw mutants of all modules, in proportion to how many each has."""
    if count == "all":
        return [mutant for path in paths for mutant in draw(ROOT, path, None, seed)]
    sizes = {path: number_of_mutants(ROOT, path) for path in paths}
    fraction = int(count) / max(sum(sizes.values()), 1)
    return [
        mutant for path, size in sizes.items() for mutant in draw(ROOT, path, max(_LEAST, round(size * fraction)), seed)
    ]


def report(trials: Sequence[Trial], arguments: argparse.Namespace, seconds: float) -> int:
    """Print the table, store it, and return the exit code."""
    equivalents = read_equivalents(ROOT)
    tried = [(trial.mutant, trial.outcome) for trial in trials if trial.mutant]
    rows = []
    for path in sorted({mutant.path for mutant, _ in tried}):
        of_path = [(mutant, outcome) for mutant, outcome in tried if mutant.path == path]
        survivors = [mutant for mutant, outcome in of_path if outcome == "survived"]
        listed = sum(is_listed(mutant, equivalents) for mutant in survivors)
        rows.append({"module": path, "tried": len(of_path), "killed": len(of_path) - len(survivors), "listed": listed})
    print(f"{'module':<52}{'tried':>7}{'killed':>8}{'listed':>8}{'score':>8}")
    for row in [*rows, {"module": "all", **{name: sum(int(row[name]) for row in rows) for name in _NUMBERS}}]:
        score = int(row["killed"]) / int(row["tried"])
        print(f"{row['module']:<52}{row['tried']:>7}{row['killed']:>8}{row['listed']:>8}{score:>8.1%}")
    score = sum(int(row["killed"]) for row in rows) / len(tried)
    unlisted = [mutant.key for mutant, outcome in tried if outcome == "survived" and not is_listed(mutant, equivalents)]
    wrongly = [mutant.key for mutant, outcome in tried if outcome == "killed" and mutant.key in equivalents]
    outdated = stale(ROOT, equivalents)
    for title, keys in (
        ("survived, and not listed", unlisted),
        (f"listed in {FILE}, but a test notices it", wrongly),
        (f"listed in {FILE}, but the code has no such line", outdated),
    ):
        if keys:
            print(f"\n{len(keys)} {title}:\n{described(keys)}")
    if not arguments.only:  # the file is about all modules
        run_of = {"where": where(), "seed": arguments.seed, "seconds": round(seconds), "score": round(score, 3)}
        text = json.dumps({**run_of, "modules": rows, "unlisted": unlisted}, indent=1)
        (RESULTS / "mutants.json").write_text(text + "\n", encoding="utf-8")
    print(f"\n{score:.1%} of {len(tried)} mutants are killed, the goal is {GOAL:.0%}; {seconds:.0f} s")
    return 1 if score < GOAL or wrongly or outdated else 0


_NUMBERS = ("tried", "killed", "listed")

if __name__ == "__main__":
    sys.exit(main())
