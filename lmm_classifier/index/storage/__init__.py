"""The index on disk: an SQLite store with derived files, and the single-file `.npz` form.

Start with `store`; `repair` and `salvage` serve the doctor.
"""
