"""Leave-one-out fitting on vectors: temperatures, thresholds with guarantees, conformal sets.

Start with `calibration` (what is stored) and `fit` (how it is found).
"""
