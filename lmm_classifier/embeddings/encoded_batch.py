"""What became of some image files: their vectors by each encoder, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from lmm_classifier.core.arrays import Float32Array, IntArray
from lmm_classifier.core.progress import Skipped
from lmm_classifier.core.protocols import Preprocessed
from lmm_classifier.data.places import Place

_MAX_UNENCODED = 1024  # files without a new vector in one batch, so that a run without new files shows progress


@dataclass(frozen=True)
class EncodedFile:
    """A file with a vector: its position in the list, its path, and the hash of its content."""

    position: int
    path: Place
    content_hash: str


@dataclass(frozen=True, slots=True)
class FailedImage:
    """A file without a vector: its position in the list, its path, the hash of its content if known, and the reason.

    `proven` says that the bytes alone prove the refusal. A failure that may pass, of the system or of the encoder, must
    not be stored.
    """

    position: int
    path: Place
    content_hash: str | None
    kind: str
    reason: str
    proven: bool = False

    @property
    def skipped(self) -> Skipped:
        """Return what a report lists; the path stands in it once."""
        path = str(self.path)
        return Skipped(path, self.reason.removeprefix(f"{path}: "), self.kind)


@dataclass(frozen=True)
class NewVectors:
    """Vectors (m, dim) of one encoder, the places (m,) of their files in a batch, and the seconds that they took."""

    vectors: Float32Array
    places: IntArray
    seconds: float = 0.0

    @classmethod
    def joined(cls, parts: Sequence[NewVectors], counts: Sequence[int]) -> NewVectors:
        """Concatenate those of several batches, which have `counts` files each."""
        starts = np.cumsum([0, *counts[:-1]])
        filled = [part.vectors for part in parts if len(part.vectors)] or [parts[0].vectors]
        places = np.concatenate([part.places + start for part, start in zip(parts, starts)])
        return cls(np.concatenate(filled), places, sum(part.seconds for part in parts))

    def of(self, kept: IntArray) -> NewVectors:
        """Return those of the files `kept` (k,), ascending, which are then numbered from 0."""
        is_kept = np.isin(self.places, kept)
        return NewVectors(self.vectors[is_kept], np.searchsorted(kept, self.places[is_kept]), self.seconds)


@dataclass
class EncodedBatch:
    """The results for some files. Each encoder has new vectors of all `encoded` files, or of those that lacked one."""

    encoded: list[EncodedFile] = field(default_factory=list)
    known: list[EncodedFile] = field(default_factory=list)  # files of known content, not encoded again
    failed: list[FailedImage] = field(default_factory=list)
    new: list[NewVectors] = field(default_factory=list)  # of each encoder
    inputs: list[tuple[Preprocessed | None, ...]] = field(default_factory=list)  # of the encoded, for later encoders

    def __len__(self) -> int:
        return len(self.encoded) + len(self.known) + len(self.failed)

    @property
    def is_small(self) -> bool:
        """Whether the batch may take more files without a new vector."""
        return len(self) - len(self.encoded) < _MAX_UNENCODED

    @property
    def vectors(self) -> list[Float32Array]:
        """Return the vectors (n, dim) of each encoder, where every encoded file has them."""
        return [new.vectors for new in self.new]

    @property
    def with_new(self) -> set[int]:
        """Return the places of the encoders that have new vectors."""
        return {place for place, new in enumerate(self.new) if len(new.places)}

    def pairs(self, encoder: int) -> Iterator[tuple[str, Float32Array]]:
        """Yield the new vectors (dim,) of an encoder, each with the hash of its content."""
        for place, vector in zip(self.new[encoder].places, self.new[encoder].vectors):
            yield self.encoded[place].content_hash, vector

    @classmethod
    def joined(cls, parts: Sequence[EncodedBatch]) -> EncodedBatch:
        """Return one batch with the files of several, in order."""
        counts = [len(part.encoded) for part in parts]
        return cls(
            [file for part in parts for file in part.encoded],
            [file for part in parts for file in part.known],
            [file for part in parts for file in part.failed],
            [NewVectors.joined(new, counts) for new in zip(*(part.new for part in parts), strict=True)],
            [inputs for part in parts for inputs in part.inputs],
        )
