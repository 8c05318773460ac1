"""Charts of an evaluation or a calibration by matplotlib, in the idiom of scikit-learn's displays. Extra: `plot`.

Start with `reliability`. `drawing` has the colors and makes the axes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
