"""Find the encoders that are configured among those of an index."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import PurePath

from lmm_classifier.core.errors import IndexMismatchError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.opening import backends_of
from lmm_classifier.index.manifest import Manifest

logger: logging.Logger = logging.getLogger(__name__)


def places_of(manifest: Manifest, encoders: Sequence[Fingerprint], source: str) -> tuple[int, ...]:
    """Return the place of each encoder among those of an index.

    Where only the number type of the computation differs, a warning is logged.

    Raises:
        IndexMismatchError: the index has no vectors of an encoder; the message names both.
    """
    places = tuple(_place_of(manifest, encoder, source) for encoder in encoders)
    for place, encoder in zip(places, encoders):
        stored = manifest.encoders[place].fingerprint.dtype
        if stored != encoder.dtype:
            logger.warning(
                "The index holds vectors computed in %s, but this encoder computes in %s. Similarities differ by about "
                "0.001.",
                stored,
                encoder.dtype,
            )
    return places


def require_backends(manifest: Manifest, backends: Sequence[Sequence[str]], source: str) -> None:
    """Raise IndexMismatchError for an encoder that cannot be one of the index, before gigabytes are loaded.

    Args:
        manifest: of the index.
        backends: for each configured encoder the backends whose vectors it may give, its own first.
        source: of the index, for messages.
    """
    stored = [fingerprint.backend for fingerprint in manifest.fingerprints]
    for names in backends:
        if not set(names) & set(stored):
            raise IndexMismatchError(
                f"Index {source} was built by {_listed(manifest)}, but encoder.backend is {names[0]!r}. Use the "
                f"configuration that it was built with ({_configuration_of(manifest)}), or run `lmm-classifier build` "
                "with this one."
            )


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


def _place_of(manifest: Manifest, encoder: Fingerprint, source: str) -> int:
    differences = [stored.differences(encoder) for stored in manifest.fingerprints]
    for place, fields in enumerate(differences):
        if not fields:
            return place
    if min(differences, key=len) == ["decoding"]:
        raise IndexMismatchError(
            f"Index {source} was built from images that were decoded by other rules. Its vectors are of "
            f"{_listed(manifest)}, but images are now decoded for {encoder}. Encode all images again with "
            "`lmm-classifier build`: labels and examples that were edited by hand stay."
        )
    raise IndexMismatchError(
        f"Index {source} was built by another encoder ({_described(manifest, differences)}). Its vectors are of "
        f"{_listed(manifest)}, but the configured encoder is {encoder}. Configure that encoder, or run "
        "`lmm-classifier build` with this one."
    )


def _described(manifest: Manifest, differences: Sequence[list[str]]) -> str:
    """Say how an encoder differs from each of those of an index that resemble it, or else from the most similar one."""
    named = list(zip(manifest.encoder_names, differences))
    similar = [(name, fields) for name, fields in named if not {"preprocessing", "dim"} <= set(fields)]
    similar = similar or [min(named, key=lambda pair: len(pair[1]))]
    several = len(similar) > 1
    return "; ".join(f"{f'{name}: ' if several else ''}{', '.join(fields)} differ" for name, fields in similar)


def _configuration_of(manifest: Manifest) -> str:
    """Return how the encoders of an index are configured, in words: one by its backend, several as a list."""
    entries = [f"{f.backend!r}{f' with view {f.view}' if f.view else ''}" for f in manifest.fingerprints]
    if len(entries) == 1:
        return f"set encoder.backend to {entries[0]}"
    return f"with a list of {len(entries)} encoders, whose encoder.backend is {', '.join(entries)}"


def _listed(manifest: Manifest) -> str:
    """Return the encoders of an index in words."""
    names = list(map(str, manifest.fingerprints))
    return f"the encoder {names[0]}" if len(names) == 1 else f"the encoders {' and '.join(names)}"
