"""The configured encoders, compared with those of the index that they are to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import IndexMismatchError
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.embeddings.opening import Given, backends_of, open_encoders
from lmm_classifier.index.manifest import Manifest
from lmm_classifier.index.matching import places_of, require_backends
from lmm_classifier.index.settings.kept import kept_settings


@dataclass(frozen=True)
class EncodersOfSync:
    """The encoders that an index has after a sync, in their order; they are loaded when they are needed."""

    fingerprints: tuple[Fingerprint, ...]
    lazy: tuple[LazyEncoder, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)  # that the index remembers from now on, if there are any


class ConfiguredEncoders:
    """The configured encoders, or those that were given. They are loaded when the first image needs one."""

    def __init__(self, config: PipelineConfig, given: Given = None) -> None:
        self._config, self._configs, self._given = config, config.encoders, given
        self._opened: tuple[Encoder, ...] | None = None

    def for_sync(self, manifest: Manifest, source: str) -> EncodersOfSync:
        """Return the encoders of an index that is to be updated. Those that it lacks are added.

        Where as many are configured as the index has, none is loaded before an image needs it.

        Raises:
            IndexMismatchError: an encoder of the index is not configured, so its vectors would be lost.
        """
        if self._count == len(manifest.encoders):
            return EncodersOfSync(manifest.fingerprints, self.for_edit(manifest, source))
        configured = [encoder.fingerprint for encoder in self._open()]
        for name, stored in zip(manifest.encoder_names, manifest.fingerprints):
            if all(stored.differences(fingerprint) for fingerprint in configured):
                raise IndexMismatchError(
                    f"Index {source} has vectors of {name}, which is not configured. Configure it too, or drop its "
                    "vectors with `lmm-classifier build`."
                )
        stored_as = {fingerprint.space_id: fingerprint for fingerprint in manifest.fingerprints}
        fingerprints = tuple(stored_as.get(fingerprint.space_id, fingerprint) for fingerprint in configured)
        settings = kept_settings(self._config) if self._given is None else {}
        lazy = tuple(LazyEncoder(partial(_same, encoder)) for encoder in self._open())
        return EncodersOfSync(fingerprints, lazy, settings)

    def for_edit(self, manifest: Manifest, source: str) -> tuple[LazyEncoder, ...]:
        """Return an encoder for each of those of the index.

        Loading one raises IndexMismatchError unless the configured encoders are those of the index.
        """

        def load(place: int) -> Encoder:
            if self._given is None:  # compare the backends before gigabytes are loaded
                require_backends(manifest, backends_of(self._configs), source)
            opened = self._open()
            places = places_of(manifest, [encoder.fingerprint for encoder in opened], source)
            if place not in places:
                raise IndexMismatchError(
                    f"Index {source} has vectors of {manifest.encoder_names[place]}, which is not configured, so a new "
                    "image would lack one. Configure it too, or drop its vectors with `lmm-classifier build`."
                )
            return opened[places.index(place)]

        return tuple(LazyEncoder(partial(load, place)) for place in range(len(manifest.encoders)))

    @property
    def _count(self) -> int:
        if self._given is None:
            return len(self._configs)
        return len(self._given) if isinstance(self._given, Sequence) else 1

    def _open(self) -> tuple[Encoder, ...]:
        if self._opened is None:
            self._opened = open_encoders(self._configs, self._given)
        return self._opened


def _same(encoder: Encoder) -> Encoder:
    return encoder
