"""Beyond one machine: builds by an engine, tables, answers through a store, and a simulation of a billion images.

Each part is a module `benchmarks/scale_<part>.py` with a function `rows(quick)`. A full run writes
benchmarks/results/scale.json; with `--only` the rows of that part alone are new.
"""

from __future__ import annotations

from benchmarks.joined_parts import run_joined

if __name__ == "__main__":
    run_joined("scale", __doc__)
