"""Measurements and reports: evaluate a labeled folder, audit an index, draw pages.

Start with `results` and `audit`; the HTML is in `reports`.
"""
