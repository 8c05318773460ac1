"""Images and labeled folders come in: reading, decoding, limits.

Start with `image_folder` (a folder of labels) and `images` (bytes become pixels).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
