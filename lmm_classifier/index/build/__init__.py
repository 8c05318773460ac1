"""Build and change an index: scan, encode, plan, commit.

Start with `builder`. `sync` updates an index from its dataset folder, and `editor` changes single examples.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
