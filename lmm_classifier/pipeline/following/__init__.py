"""Follows an index that changes, on the next call or in the background.

Read `current_flow.py` first.
"""
