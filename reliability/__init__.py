"""Faults on purpose, and what becomes of an index or a run then; `python -m reliability` runs all."""
