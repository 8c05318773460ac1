"""Drawn images of patterns, to try the program without a dataset.

Start with `catalog`: `KNOWN`, `UNKNOWN` and `draw`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
