"""Faults on purpose, and what becomes of an index or a run then; `python -m benchmarks.fault_injection` runs all."""
