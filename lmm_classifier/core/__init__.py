"""Words, protocols, errors and small tools, one file per idea; nothing of the package is imported here.

Start with `datatypes` (the values) and `protocols` (the seams).
"""
