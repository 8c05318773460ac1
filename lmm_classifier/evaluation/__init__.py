"""Measurements and reports: evaluate a labeled folder, audit an index, write HTML pages.

Start with `results` and `audit`; the pages are in `reports`.
"""
