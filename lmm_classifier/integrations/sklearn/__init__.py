"""The classifier and its encoders as estimators of scikit-learn. They need the extra `sklearn`.

Start with `train_free_classifier`. `spaces` says how the rows of a table become vectors, and `image_encoder` makes
vectors of images.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
