"""The cost of decoding a file, estimated from its structure before a decoder sees it: one file per format.

Start with `check`.
"""
