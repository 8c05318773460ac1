"""The index on disk: a SQLite store with derived files, and the single-file `.npz` format.

Start with `store`. The doctor uses `repair` and `salvage`.
"""
