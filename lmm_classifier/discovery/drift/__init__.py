"""Drift: a sequential test of whether the images of a stream are still those that the dataset is used to.

Start with `martingale`, the evidence of a change, and `drift_test`, which compares images with held-out examples.
"""
