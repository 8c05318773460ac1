"""Datasets of any source: folders, archives, tables, clouds, annotations; one file per kind of source.

Start with `opening`: `open_dataset` finds the examples, `open_root` opens their images again by their ids.
"""
