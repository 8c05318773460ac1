"""The cost of a BMP: run lengths are read in Python, so that each of their bytes counts."""

import struct

from benchmarks.fault_injection.costly_files import bmps, flat, save
from lmm_classifier.data.decoding.cost.check import estimate_cost


def test_run_lengths_cost_more_than_pixels():
    """A byte of run lengths costs as much as dozens of pixels."""
    files = bmps(10_000, 20_000)
    assert "bytes of run lengths" in estimate_cost(files["jumps"], 10.0).main_reason
    assert estimate_cost(files["jumps"], 10.0).seconds > 20 * estimate_cost(save(flat(10_000), "BMP"), 10.0).seconds


def test_sizes_of_all_headers():
    """Old headers have short numbers; a negative height means that the first row is on top."""
    assert estimate_cost(b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 7, 9, 1, 24) + bytes(30), 1.0).size == (7, 9)
    assert estimate_cost(b"BM" + bytes(12) + struct.pack("<Iii", 40, 7, -9) + bytes(30), 1.0).size == (7, 9)
    for cut in range(60):
        estimate_cost(save(flat(100), "BMP")[:cut], 1.0)
