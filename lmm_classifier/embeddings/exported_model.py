"""An encoder in a file: the model, and next to it a YAML with its preprocessing and its origin.

`ExportedEncoder` is the base of the encoders that run such a model.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import yaml
from PIL.Image import Image

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.concurrency import cpu_count
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.file_digests import files_digest
from lmm_classifier.core.fingerprint import Fingerprint
from lmm_classifier.core.forking import ForkSafeLock
from lmm_classifier.core.paths import similar_names
from lmm_classifier.core.protocols import Preprocessed
from lmm_classifier.embeddings.base import CosineEncoder
from lmm_classifier.embeddings.onnx_external_data import external_files
from lmm_classifier.embeddings.preprocessing import EXAMPLE, Bytes, Preprocessing

ALIKE = 0.9999  # least cosine at which an exported encoder's vectors count as those of its checkpoint


@dataclass(frozen=True)
class ExportedModel:
    """A model file with the description of its preprocessing."""

    model: Path
    preprocessing: Preprocessing
    digest: str  # of the model and all its weights

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
                f"`lmm-classifier export-encoder`. {similar_names(model)}".strip()
            )
        described = described or model.with_suffix(".yaml")
        if not described.is_file():
            raise EncoderError(
                f"{model} has no description of its preprocessing: write {described}, for example {EXAMPLE}"
            )
        preprocessing = Preprocessing.from_yaml(described)
        source = preprocessing.source
        try:
            if source is not None and source.digest != export_digest(model, preprocessing):
                raise EncoderError(
                    f"{model} or {described} changed since the model was exported from {source.model}; export it "
                    "again, or remove `source` from the description"
                )
            return cls(model, preprocessing, model_digest(model))
        except OSError as error:
            raise EncoderError(f"the files of {model} cannot be read: {error}") from error

    def input_shape(self, accepted: Sequence[int | None], shown: object) -> tuple[int, ...]:
        """Return the shape of the input for one image.

        Args:
            accepted: the length of each axis that the model takes, None for any.
            shown: how the error names it.

        Raises:
            EncoderError: the model does not take that.
        """
        height, width = self.preprocessing.shape
        shape = (1, 3, height, width) if self.preprocessing.layout == "nchw" else (1, height, width, 3)
        if len(accepted) != 4 or any(length not in (None, wanted) for length, wanted in zip(accepted, shape)):
            raise EncoderError(
                f"{self.model} refused its input of shape {shape}: it takes {shown}. Set size and layout in its "
                "description to those of the model, or export it for one image at a time"
            )
        return shape

    def fingerprint(self, backend: str, dim: int, dtype: str) -> Fingerprint:
        """Return the fingerprint of the checkpoint it was exported from, or else one of the file by content."""
        source = self.preprocessing.source
        if source is not None:
            if source.dim != dim:
                raise EncoderError(f"{self.model} gives {dim} numbers, but its description says {source.dim}")
            return Fingerprint(source.backend, source.model, source.revision, source.preprocessing, dim, dtype)
        values = self.preprocessing.model_dump(mode="json", exclude={"source"}, exclude_none=True)
        return Fingerprint(backend, self.model.name, self.digest, json.dumps(values, sort_keys=True), dim, dtype)


class ExportedEncoder(CosineEncoder, ABC):
    """An encoder that runs an exported model on the CPU. `threads` 0 means all processors."""

    def __init__(self, exported: ExportedModel, threads: int, images_per_thread: int) -> None:
        self.exported = exported
        self._threads = threads or cpu_count()
        self._turn = ForkSafeLock()  # all threads work on one batch
        self.image_size: int = exported.preprocessing.side
        self.batch_size: int = images_per_thread * self._threads  # so that every thread is busy most of the time

    def preprocess(self, image: Image) -> Bytes:
        """Resize or crop an upright RGB image to the model's input size, (height, width, 3)."""
        return self.exported.preprocessing.preprocess(image)

    @abstractmethod
    def encode(self, preprocessed: Sequence[Preprocessed]) -> Float32Array:
        """Return normalized embeddings (n, dim); raises EncoderError on values that are not finite."""

    @abstractmethod
    def model_input(self, preprocessed: Preprocessed) -> np.ndarray:
        """Return what the model takes of one preprocessed image, (1, ...)."""


def write_description(description: Preprocessing, model: Path) -> Preprocessing:
    """Write the description next to a model, with the digest of both; return it.

    Raises:
        ValueError: the description does not name where the model comes from.
    """
    if description.source is None:
        raise ValueError("the description has no source")
    source = description.source.model_copy(update={"digest": export_digest(model, description)})
    complete = description.model_copy(update={"source": source})
    unused = {name for name in ("mean", "std", "channels") if name not in complete.model_fields_set}
    values = complete.model_dump(mode="json", exclude_none=True, exclude=unused)
    model.with_suffix(".yaml").write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return complete


def model_digest(model: Path) -> str:
    """Return a digest of all bytes of a model file and of every file with its weights; raise OSError."""
    files = {"model": model}
    if model.suffix == ".xml":
        files["weights"] = model.with_suffix(".bin")
    else:
        files |= {f"external {name}": model.parent / name for name in external_files(model)}
    return files_digest(files)


def export_digest(model: Path, description: Preprocessing) -> str:
    """Return a digest of an exported model and of its whole description, apart from the digest in it."""
    values = description.model_dump(mode="json", exclude={"source": {"digest"}})
    return sha256(f"{model_digest(model)} {json.dumps(values, sort_keys=True)}".encode()).hexdigest()[:16]
