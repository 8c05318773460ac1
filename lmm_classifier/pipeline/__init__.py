"""The classifier: encode, search, score, decide, rerank where it pays.

Start with `classifier` (the public object) and `flow` (the way of one image).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
