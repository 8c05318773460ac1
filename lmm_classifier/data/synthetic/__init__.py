"""Drawn pattern images, so that the program can be tried without a dataset.

Start with `catalog`: `KNOWN`, `UNKNOWN` and `draw`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
