"""Classify many images by the workers of an engine. Start with `classification`.

Every step can be interrupted and run again: what a worker finished is a file, which is written whole, once.
"""
