"""Thresholds for the coarse labels of a hierarchy, one a level.

Start with `coarse_results` (what they are made of) and `level_guarantees` (how they are found).
"""
