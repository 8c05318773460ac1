"""Inject faults, and check what becomes of an index or a run; `python -m benchmarks.fault_injection` runs all."""
