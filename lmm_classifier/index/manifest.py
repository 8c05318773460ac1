"""Manifest of an index: format, encoder, transform and counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lmm_classifier.core.datatypes import Fingerprint
from lmm_classifier.core.errors import IndexFileError, IndexMismatchError

FORMAT = "lmm-classifier-index"
FORMAT_VERSION = 2


def other_format_message(source: str, found: object, expected: int, output: str = "") -> str:
    """Return the error message for an index of another format version; `output` says where to build it again."""
    return (
        f"{source} has index format {found}, but this program reads format {expected}. "
        f"Build it again with `lmm-classifier build`{output}."
    )


@dataclass(frozen=True, slots=True)
class Manifest:
    """Description of an index; it is read first and written last."""

    fingerprint: Fingerprint
    transform: str  # name of the transform that is applied to vectors before they are compared
    count: int  # examples
    image_root: str  # absolute path of the dataset folder when the index was built; example images are read from it
    created: str  # ISO 8601, UTC
    program: str  # version of the program that wrote it

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
            # an index without a note of its decoding was built before color profiles were applied
            fingerprint = Fingerprint(**{"decoding": "", **values["fingerprint"]})
            manifest = cls(**{**values, "fingerprint": fingerprint})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if isinstance(error, IndexFileError):
                raise
            raise IndexFileError(f"{source} has a damaged manifest: {error}") from None
        return manifest.checked(source)

    def checked(self, source: str) -> Manifest:
        """Return self if every field has its type and a possible value; raise IndexFileError otherwise."""
        texts = (self.transform, self.image_root, self.created, self.program)
        fingerprint = self.fingerprint
        names = (fingerprint.backend, fingerprint.model, fingerprint.revision, fingerprint.preprocessing)
        if not all(isinstance(text, str) for text in (*texts, *names, fingerprint.dtype, fingerprint.decoding)):
            raise IndexFileError(f"{source} has a damaged manifest: expected text in every descriptive field.")
        for name, number in (("count", self.count), ("dim", fingerprint.dim)):
            if type(number) is not int or not 1 <= number < 2**40:
                raise IndexFileError(f"{source} has a damaged manifest: {name} is {number!r}.")
        return self

    def require_backend(self, backends: Sequence[str], source: str) -> None:
        """Raise IndexMismatchError unless an encoder of one of `backends` (the configured one first) made the index."""
        if self.fingerprint.backend not in backends:
            raise IndexMismatchError(
                f"Index {source} was built by the encoder {self.fingerprint}, but encoder.backend is {backends[0]!r}. "
                f"Use the configuration that it was built with (set encoder.backend to {self.fingerprint.backend!r}), "
                "or rebuild the index with `lmm-classifier build`."
            )

    def require(self, encoder: Fingerprint, source: str) -> None:
        """Raise IndexMismatchError, naming both fingerprints, unless `encoder` made the vectors of this index."""
        differences = self.fingerprint.differences(encoder)
        if differences == ["decoding"]:
            raise IndexMismatchError(
                f"Index {source} was built from images that were decoded by other rules. Its vectors are of "
                f"{self.fingerprint}, but images are now decoded for {encoder}. Encode all images again with "
                "`lmm-classifier build`: labels and examples that were edited by hand stay."
            )
        if differences:
            raise IndexMismatchError(
                f"Index {source} was built by another encoder ({', '.join(differences)} differ). Its vectors are of "
                f"{self.fingerprint}, but the configured encoder is {encoder}. Configure that encoder, "
                "or rebuild the index with `lmm-classifier build`."
            )
