"""Whether a library is installed, also where a plugin hides it."""

from importlib.util import find_spec


def is_installed(library):
    """Return whether it can be imported."""
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:
        return False
