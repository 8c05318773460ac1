"""Coarse answers: the hierarchy above the labels, and when a coarse label is the answer.

Start with `opening` (where the hierarchy is) and `roll_up` (what it does to an image).
"""
