"""Guarantees: thresholds from held-out results, with a stated probability that they hold.

Start with `risk_control`. `outlook` says what a request would give, and `threshold_setting` stores it.
"""
