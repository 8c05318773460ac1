"""Classify images by a folder of labeled ones: no training, an honest "unknown", a language model where it pays."""

import sys

# `python -m` puts the current folder first on the import path: a file `json.py` next to the images would be run.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    del sys.path[0]

import lazy_loader

__version__ = "0.1.0"

# The public names are listed once, in `__init__.pyi`; each is imported on first use, so that importing the package
# costs nothing and `python -m lmm_classifier.index_builder` does not find itself imported already.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
