"""Measurements; each writes benchmarks/results/<name>.json."""
