"""Rerankers for competing labels, one file per reranker and per part that they share.

Start with `registry` and `vlm`; `benefit` and `gating` decide whether asking pays.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
