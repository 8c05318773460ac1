"""Labels that people corrected in other programs, one module for each source.

Start with `label_import`, which applies them to an index as one edit.
"""
