"""Discovery: new labels, what to label next, and all that is measured of what an index says beyond its labels.

Each part is a module `benchmarks/discovery_<part>.py` with a function `rows(quick)`. A full run writes
benchmarks/results/discovery.json; with `--only` the rows of that part alone are new.
"""

from __future__ import annotations

from benchmarks.joined_parts import run_joined

if __name__ == "__main__":
    run_joined("discovery", __doc__)
