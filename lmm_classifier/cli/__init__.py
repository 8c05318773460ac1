"""The command line: one file per command, each parses, calls the library and prints.

Start with `app`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
