"""What an index says of itself: format, encoder, space and counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lmm_classifier.core.datatypes import Fingerprint
from lmm_classifier.core.errors import IndexFileError, IndexMismatchError

FORMAT = "lmm-classifier-index"
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """The first thing read from an index and the last thing written."""

    fingerprint: Fingerprint
    space: str  # name of the space in which neighbours are searched
    count: int  # examples
    image_root: str  # the corpus folder at building time, absolute; where evidence can be looked at
    created: str  # ISO 8601, UTC
    program: str  # version that wrote it

    def to_json(self) -> str:
        """Readable JSON, keys in a fixed order."""
        return json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes, source: str) -> Manifest:
        """Read and check; raises IndexFileError that names `source` and what is wrong."""
        try:
            values: dict[str, Any] = json.loads(text)
            if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
                raise IndexFileError(f"{source} is not an index of this program: its manifest has another format name")
            version = values.pop("format_version", None)
            if version != FORMAT_VERSION:
                raise IndexFileError(
                    f"{source} has index format version {version!r}, this program reads {FORMAT_VERSION}: "
                    "rebuild it with `lmm-classifier build`"
                )
            manifest = cls(**{**values, "fingerprint": Fingerprint(**values["fingerprint"])})
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if isinstance(error, IndexFileError):
                raise
            raise IndexFileError(f"{source} has a damaged manifest: {error}") from None
        return manifest.checked(source)

    def checked(self, source: str) -> Manifest:
        """Return self when every field has its type and a possible value."""
        texts = (self.space, self.image_root, self.created, self.program)
        fingerprint = self.fingerprint
        names = (fingerprint.backend, fingerprint.model, fingerprint.revision, fingerprint.preprocessing)
        if not all(isinstance(text, str) for text in (*texts, *names, fingerprint.dtype)):
            raise IndexFileError(f"{source} has a damaged manifest: text expected in every descriptive field")
        for name, number in (("count", self.count), ("dim", fingerprint.dim)):
            if type(number) is not int or not 1 <= number < 2**40:
                raise IndexFileError(f"{source} has a damaged manifest: {name} is {number!r}")
        return self

    def require_backend(self, backends: Sequence[str], source: str) -> None:
        """Raise IndexMismatchError unless an encoder of one of these kinds (the configured one first) made them."""
        if self.fingerprint.backend not in backends:
            raise IndexMismatchError(
                f"index {source} was built by the encoder {self.fingerprint}, but encoder.backend is {backends[0]!r}: "
                f"set encoder.backend to {self.fingerprint.backend!r} (with the --config that it was built with), or "
                "rebuild the index with `lmm-classifier build`"
            )

    def require(self, encoder: Fingerprint, source: str) -> None:
        """Raise IndexMismatchError, naming both fingerprints, unless `encoder` made these vectors."""
        if differences := self.fingerprint.differences(encoder):
            raise IndexMismatchError(
                f"index {source} was built by another encoder ({', '.join(differences)} differ): it holds vectors of "
                f"{self.fingerprint}, the configured encoder is {encoder}. Configure that encoder, "
                "or rebuild the index with `lmm-classifier build`"
            )
