"""Results and indexes in the formats of other programs, one module for each format.

Start with `index_export` for the examples of an index, and with `result_export` for the results of a run.
"""
