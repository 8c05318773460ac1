"""A classifier is adapted to new images without labels: their metric, their label priors. Nothing of it is stored.

Start with `learned_flow` and `estimated_flow`.
"""
