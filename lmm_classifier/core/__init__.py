"""Values, protocols, errors and small tools, one file per idea; this room imports nothing of the package.

Start with `datatypes` (the values) and `protocols` (the seams).
"""
