"""Manifest of an index: format, encoders, transforms and counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lmm_classifier.core.errors import IndexFileError, LmmClassifierError
from lmm_classifier.core.fingerprint import Fingerprint, encoder_names
from lmm_classifier.data.readers.dataset_spec import DatasetSpec

FORMAT = "lmm-classifier-index"
FORMAT_VERSION = 3


def other_format_message(source: str, found: object, expected: int, output: str = "") -> str:
    """Return the error message for an index of another format version; `output` says where to build it again."""
    return (
        f"{source} has index format {found}, but this program reads format {expected}. "
        f"Build it again with `lmm-classifier build`{output}."
    )


@dataclass(frozen=True, slots=True)
class EncoderEntry:
    """One of the encoders of an index."""

    fingerprint: Fingerprint
    transform: str  # name of the transform that is applied to its vectors before they are compared


@dataclass(frozen=True, slots=True)
class Manifest:
    """Description of an index; it is read first and written last."""

    encoders: tuple[EncoderEntry, ...]  # every example has a vector of each; those of a cascade in their order
    count: int  # examples
    image_root: str  # absolute path of the dataset folder when the index was built; empty: made from vectors, no images
    created: str  # ISO 8601, UTC
    program: str  # version of the program that wrote it
    settings: Mapping[str, Any] = field(default_factory=dict)  # what it remembers of those it was built with

    def to_json(self) -> str:
        """Return readable JSON with the keys in a fixed order."""
        return json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> Manifest:
        """Read and check a manifest; raise IndexFileError that names `source` and the problem."""
        try:
            values: dict[str, Any] = json.loads(text)
            if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
                raise IndexFileError(f"{source} is not an index of this program: its manifest has another format name.")
            version = values.pop("format_version", None)
            if version != FORMAT_VERSION:
                raise IndexFileError(other_format_message(source, version, FORMAT_VERSION))
            manifest = cls(**{**values, "encoders": tuple(_entry(**entry) for entry in values["encoders"])})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if isinstance(error, IndexFileError):
                raise
            raise IndexFileError(f"{source} has a damaged manifest: {error}") from None
        return manifest.checked(source)

    def checked(self, source: str) -> Manifest:
        """Return self if every field has its type and a possible value; raise IndexFileError otherwise."""
        texts: list[object] = [self.image_root, self.created, self.program]
        texts += [text for entry in self.encoders for text in (entry.transform, *_texts_of(entry.fingerprint))]
        if not all(isinstance(text, str) for text in texts):
            raise IndexFileError(f"{source} has a damaged manifest: expected text in every descriptive field.")
        if not isinstance(self.settings, Mapping):
            raise IndexFileError(f"{source} has a damaged manifest: its settings are no sections.")
        try:
            DatasetSpec.from_stored(self.image_root).fixed()
        except LmmClassifierError as error:
            raise IndexFileError(f"{source} has a damaged manifest: {error}") from None
        if not self.encoders or len(set(self.space_ids)) < len(self.encoders):
            raise IndexFileError(f"{source} has a damaged manifest: expected one encoder or several different ones.")
        numbers = [("count", self.count), *(("dim", entry.fingerprint.dim) for entry in self.encoders)]
        for name, number in numbers:
            if type(number) is not int or not 1 <= number < 2**40:
                raise IndexFileError(f"{source} has a damaged manifest: {name} is {number!r}.")
        return self

    @property
    def has_images(self) -> bool:
        """Return whether the examples have images; those of given vectors have none."""
        return bool(self.image_root)

    @property
    def fingerprints(self) -> tuple[Fingerprint, ...]:
        """Return the fingerprints of the encoders."""
        return tuple(entry.fingerprint for entry in self.encoders)

    @property
    def space_ids(self) -> tuple[str, ...]:
        """Return a digest for each encoder, under which its vectors are stored (`Fingerprint.space_id`)."""
        return tuple(fingerprint.space_id for fingerprint in self.fingerprints)

    @property
    def encoder_names(self) -> list[str]:
        """Return a short name for each encoder; the names differ."""
        return encoder_names(self.fingerprints)


def _entry(fingerprint: Mapping[str, Any], transform: str) -> EncoderEntry:
    # an index without a note of its decoding was built before color profiles were applied
    return EncoderEntry(Fingerprint(**{"decoding": "", **fingerprint}), transform)


def _texts_of(fingerprint: Fingerprint) -> tuple[object, ...]:
    return tuple(value for name, value in asdict(fingerprint).items() if name != "dim")
