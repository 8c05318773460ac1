"""A table of labeled vectors in the format of Lance, in a folder or on an object store, with all that belongs to it.

Start with `table`, which makes one; `row_store` reads it.
"""
