"""Encoders turn images into normalized embeddings: one file per backend, all opened by `open_encoder`.

Start with `registry`; the `Encoder` protocol is in `core.protocols`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
