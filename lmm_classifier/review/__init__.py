"""Runs over images that nobody labeled, and their review: what to review first, and what an answer changes.

Start with `reviewer`. `storage` keeps runs and answers in `review.sqlite`, next to the index.
"""
