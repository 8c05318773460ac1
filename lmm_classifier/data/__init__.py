"""Reading of images and labeled folders: decoding, limits, drawn images.

Start with `image_folder` (a folder of labels) and `images` (from bytes to pixels).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
