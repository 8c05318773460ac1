"""Which encoders of an index are configured, as far as is known without opening them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.opening import backends_of
from lmm_classifier.index.manifest import Manifest


def likely_places(manifest: Manifest, configured: Sequence[EncoderConfig]) -> tuple[int, ...] | None:
    """Return the place of each configured encoder among those of an index; None where one cannot be there.

    Backend, view and name of the model are compared. Only an opened model tells whether its weights are the same.
    """
    places = list[int]()
    for section, backends in zip(configured, backends_of(configured)):
        possible = [
            place
            for place, fingerprint in enumerate(manifest.fingerprints)
            if place not in places and fingerprint.backend in backends and fingerprint.view == (section.view or "")
        ]
        if not possible:
            return None
        names = (section.model, PurePath(section.model).name)
        places.append(next((place for place in possible if manifest.fingerprints[place].model in names), possible[0]))
    return tuple(places)
