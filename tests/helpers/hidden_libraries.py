"""A plugin of pytest that hides libraries, as if they were not installed: `pytest -p tests.helpers.hidden_libraries`.

The variable HIDDEN_LIBRARIES has their names, with blanks between.
"""

import os
import sys
from importlib.abc import MetaPathFinder


class Hidden(MetaPathFinder):
    """Finds none of the libraries, and lets no later finder look for them."""

    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        """Raise ModuleNotFoundError for a hidden library or a part of it."""
        if any(name == hidden or name.startswith(f"{hidden}.") for hidden in self.names):
            raise ModuleNotFoundError(f"No module named {name!r} (it is hidden)", name=name)


sys.meta_path.insert(0, Hidden(os.environ.get("HIDDEN_LIBRARIES", "").split()))
