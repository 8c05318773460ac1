"""Making and changing an index: scan, encode, plan, commit.

Start with `builder`; `sync` brings an index up to date, `editor` changes single examples.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
