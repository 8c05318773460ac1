"""Reading of images and labeled folders: decoding, limits, drawn images.

Start with `image_folder` (a folder of labels), `images` (from bytes to pixels) and `decoding/cost` (what may be
decoded).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
