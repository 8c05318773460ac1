"""The names of encoder backends in fingerprints, where a backend has several."""

from __future__ import annotations

_OTHER_NAMES = {"siglip": "transformers"}  # names of backends that give the vectors of another
_STORED_NAMES = {"transformers": "siglip"}  # digests on the disk were made with these


def backend_name(backend: str) -> str:
    """Return the name of an encoder backend in fingerprints, which is one for all names of a backend."""
    return _OTHER_NAMES.get(backend, backend)


def stored_backend_name(backend: str) -> str:
    """Return the name that stands for a backend in digests; it never changes, so that stored vectors are found."""
    return _STORED_NAMES.get(backend, backend)
