"""Structure among images that nobody labeled: which of them stand for many, and which belong together.

Start with `cover`, the order in which images are worth an answer. It works on vectors: no encoder, no image.
"""
