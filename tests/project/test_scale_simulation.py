"""The simulation of a large build runs the code of the product; here at sizes of a second."""

import pytest

from benchmarks import scale_simulation
from benchmarks.scale_simulation import PARTS, Measured


@pytest.mark.parametrize(
    ("part", "size"),
    [
        ("names", 9000),
        ("listing", 1000),
        ("resume", 100),
        ("reduction", 40),
        ("shortlists", 500),
        pytest.param("commits", 130, marks=pytest.mark.long),
    ],
)
def test_each_part_runs(tmp_path, part, size):
    """It checks its own results: all images in chunks, nothing missing or double, equal sums in any order."""
    if part in ("commits", "reduction"):
        pytest.importorskip("lance", reason="lance is not installed")
    work, prepare = PARTS[part]
    if prepare is not None:
        prepare(size, tmp_path)
    figures = work(size, tmp_path)
    assert all(value >= 0 for value in figures.values())
    if part == "names":
        assert 3 <= figures["chunks"] <= 9


def test_growth_is_compared_with_the_smallest_size():
    """Twice the time for each at the largest size is a ratio of two, and misses the goal."""
    values = [Measured(10, 1.0, 50.0, {}), Measured(100, 20.0, 70.0, {"chunks": 3})]
    memory, ratio, each = scale_simulation._of_part("names", values)
    assert (memory.value, memory.reached) == (20.0, True)
    assert (ratio.value, ratio.reached) == (2.0, False)
    assert each.value == 200_000  # microseconds
    assert "chunks 3" in memory.against
