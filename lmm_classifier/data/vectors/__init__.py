"""Vectors in files of other programs: tables in Parquet, and arrays of NumPy with lists of labels.

Start with `vector_files`, which reads each kind.
"""
