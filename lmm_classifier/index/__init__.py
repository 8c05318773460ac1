"""The reference set: labeled examples with their vectors, in memory and on disk.

Start with `vector_index` (the opened index). `build` makes and changes an index, `storage` holds it on disk.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
