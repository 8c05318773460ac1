"""An encoder in a file: the model, and next to it a YAML with its preprocessing and its origin.

`ExportedEncoder` is the base of the encoders that run such a model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL.Image import Image

from lmm_classifier.core.concurrency import cpu_count
from lmm_classifier.core.datatypes import Fingerprint
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.embeddings.base import CosineEncoder
from lmm_classifier.embeddings.preprocessing import TEMPLATE, Bytes, Preprocessing

ALIKE = 0.9999  # least cosine at which an exported encoder's vectors count as those of its checkpoint
_PART, _PARTS = 1 << 16, 256  # bytes of a sample, and samples of a large file


@dataclass(frozen=True)
class ExportedModel:
    """A model file with the description of its preprocessing."""

    model: Path
    preprocessing: Preprocessing

    @classmethod
    def find(cls, given: Path, suffix: str, described: Path | None = None) -> ExportedModel:
        """Find a model and its description, and check that they belong together.

        Args:
            given: the model file, or the folder of an export.
            suffix: suffix of the model file, such as `.onnx`.
            described: the YAML with the preprocessing; None is the one next to the model.

        Raises:
            EncoderError: a file is missing, or the model was changed after the export.
        """
        model = given / f"model{suffix}" if given.is_dir() else given
        if model.suffix != suffix or not model.is_file():
            raise EncoderError(
                f"there is no {suffix} model at {given}: set encoder.model to a {suffix} file, or to a folder made by "
                "`lmm-classifier export-encoder`"
            )
        described = described or model.with_suffix(".yaml")
        if not described.is_file():
            raise EncoderError(
                f"{model} has no description of its preprocessing: write {described}, for example\n{TEMPLATE}"
            )
        exported = cls(model, Preprocessing.from_yaml(described))
        source = exported.preprocessing.source
        if source is not None and source.digest != digest(model):
            raise EncoderError(
                f"{model} is not the model that {described} describes: it changed since it was exported from "
                f"{source.model}; export it again, or remove `source` from the description"
            )
        return exported

    def fingerprint(self, backend: str, dim: int, dtype: str) -> Fingerprint:
        """Return the fingerprint of the checkpoint it was exported from, or else one of the file by content."""
        source = self.preprocessing.source
        if source is not None:
            if source.dim != dim:
                raise EncoderError(f"{self.model} gives {dim} numbers, but its description says {source.dim}")
            return Fingerprint(source.backend, source.model, source.revision, source.preprocessing, dim, dtype)
        values = self.preprocessing.model_dump(mode="json", exclude={"input", "source"}, exclude_none=True)
        preprocessing = json.dumps(values, sort_keys=True)
        return Fingerprint(backend, self.model.name, digest(self.model, sampled=False), preprocessing, dim, dtype)


class ExportedEncoder(CosineEncoder):
    """An encoder that runs an exported model on the CPU. `threads` 0 means all processors."""

    def __init__(self, exported: ExportedModel, threads: int, images_per_thread: int) -> None:
        self._exported = exported
        self._threads = threads or cpu_count()
        self._turn = ForkSafeLock()  # all threads work on one batch
        self.image_size = exported.preprocessing.side
        self.batch_size = images_per_thread * self._threads  # so that every thread is busy most of the time

    def preprocess(self, image: Image) -> Bytes:
        """Resize or crop an upright RGB image to the model's input size, (height, width, 3)."""
        return self._exported.preprocessing.preprocess(image)


def digest(model: Path, sampled: bool = True) -> str:
    """Return a digest of a model file and its weights: of all bytes, or of 256 even samples of large files.

    Samples show quickly whether an export is complete. They are not enough to tell two models of one shape apart.
    """
    content = hashlib.sha256()
    weights = (
        [model.with_suffix(".bin")] if model.suffix == ".xml" else sorted(model.parent.glob(f"{model.name}.data*"))
    )
    for file in (model, *weights):
        if file.is_file():
            for part in _samples(file) if sampled else _parts(file):
                content.update(part)
    return content.hexdigest()[:16]


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
