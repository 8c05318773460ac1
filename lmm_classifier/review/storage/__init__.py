"""Runs, their results and the answers of people, on disk: `review.sqlite` in the folder of the index.

Start with `run_store`. The index is another database, and nothing here changes it.
"""
