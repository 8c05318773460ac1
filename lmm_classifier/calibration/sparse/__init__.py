"""Calibration where examples times labels do not fit in memory, and where the rows are in a store.

Start with `sparse_scores`; `sparse_fit` fits a rule to them, and `store_fit` does it through a store of rows.
"""
