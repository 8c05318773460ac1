"""Unlabeled images help to fit the metric of a dataset with few examples. This is an experiment.

Start with `learned_metric`. The examples stay the only evidence: an unlabeled image never votes.
"""
