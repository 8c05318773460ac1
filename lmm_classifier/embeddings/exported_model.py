"""An encoder in a file: the model, and beside it a YAML on how a picture becomes its input and where it is from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmm_classifier.core.datatypes import Fingerprint
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.protocols import FloatArray
from lmm_classifier.embeddings.preprocessing import TEMPLATE, Preprocessing

ALIKE = 0.9999  # cosine from which the vectors of an exported encoder are those of its checkpoint
_PART, _PARTS = 1 << 16, 256  # bytes and number of the samples of a large file


@dataclass(frozen=True)
class Exported:
    """A model file with the description of its preprocessing."""

    model: Path
    preprocessing: Preprocessing

    @classmethod
    def find(cls, given: Path, suffix: str, described: Path | None = None) -> Exported:
        """Find the model (a file, or the folder of an export) and its description; raises EncoderError."""
        model = given / f"model{suffix}" if given.is_dir() else given
        if model.suffix != suffix or not model.is_file():
            raise EncoderError(
                f"there is no {suffix} model at {given}: set encoder.model to a {suffix} file, or to a folder made by "
                "`lmm-classifier export --encoder`"
            )
        described = described or model.with_suffix(".yaml")
        if not described.is_file():
            raise EncoderError(
                f"{model} has no description of its preprocessing: write {described}, for example\n{TEMPLATE}"
            )
        found = cls(model, Preprocessing.from_yaml(described))
        source = found.preprocessing.source
        if source is not None and source.digest != digest(model):
            raise EncoderError(
                f"{model} is not the model that {described} describes: it was changed since it was exported from "
                f"{source.model}; export it again, or remove `source` from the description"
            )
        return found

    def fingerprint(self, backend: str, dim: int, dtype: str) -> Fingerprint:
        """The checkpoint it was exported from, whose vectors are the same; else the file by content."""
        source = self.preprocessing.source
        if source is not None:
            if source.dim != dim:
                raise EncoderError(f"{self.model} gives {dim} numbers, its description says {source.dim}")
            return Fingerprint(source.backend, source.model, source.revision, source.preprocessing, dim, dtype)
        values = self.preprocessing.model_dump(mode="json", exclude={"input", "source"}, exclude_none=True)
        named = json.dumps(values, sort_keys=True)
        return Fingerprint(backend, self.model.name, digest(self.model, sampled=False), named, dim, dtype)


def digest(model: Path, sampled: bool = True) -> str:
    """Digest of a model file and of the weights beside it: of all, or `sampled` in 256 even parts of large files.

    Samples tell at once whether an export is whole; they are not enough to tell two models of one shape apart.
    """
    found = hashlib.sha256()
    beside = [model.with_suffix(".bin")] if model.suffix == ".xml" else sorted(model.parent.glob(f"{model.name}.data*"))
    for file in (model, *beside):
        if file.is_file():
            for part in _samples(file) if sampled else _parts(file):
                found.update(part)
    return found.hexdigest()[:16]


def _parts(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while part := opened.read(_PART * _PARTS):
            yield part


def _samples(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    if size <= _PART * _PARTS:
        yield file.read_bytes()
        return
    yield str(size).encode()
    with file.open("rb") as opened:
        for number in range(_PARTS):
            opened.seek(number * (size - _PART) // (_PARTS - 1))
            yield opened.read(_PART)


def unit_rows(rows: FloatArray, fingerprint: Fingerprint, hint: str = "") -> FloatArray:
    """Bring rows (n, dim) to unit length; raises EncoderError if one is not finite or has no direction."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise EncoderError(f"{fingerprint.model} gave a vector without a direction{hint}")
    unit: FloatArray = (rows / lengths).astype(np.float32)
    return unit
