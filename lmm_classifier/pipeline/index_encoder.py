"""Encodes images and label names with the encoder that an index was built with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.encoder_names import backend_name
from lmm_classifier.core.errors import CalibrationError, EncoderError, MissingExtraError
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.core.protocols import Encoder, TextEncoder
from lmm_classifier.embeddings.encode_files import EncodedFile, LazyEncoder, encode_files
from lmm_classifier.embeddings.registry import compatible_backends, may_embed_text, open_encoder
from lmm_classifier.index.opening import require_encoder
from lmm_classifier.index.vector_index import ExactIndex

logger = logging.getLogger(__name__)


def open_encoder_of(index: ExactIndex, config: PipelineConfig, path: Path) -> Encoder:
    """Open the configured encoder; raise IndexMismatchError unless it is the one that `index` was built with."""
    index.manifest.require_backend(compatible_backends(config.encoder.backend), str(path))
    encoder = open_encoder(config.encoder)
    require_encoder(index, encoder.fingerprint, str(path))
    return encoder


def encode_readable(
    encoder: Encoder, files: Sequence[Path], config: PipelineConfig, progress: ProgressCallback | None = None
) -> tuple[Float32Array, list[EncodedFile]]:
    """Encode the readable ones of some files: vectors (n, dim), and the files that they are of."""
    vectors, encoded, failures = [np.empty((0, encoder.fingerprint.dim), np.float32)], list[EncodedFile](), 0
    for batch in encode_files(files, LazyEncoder(lambda: encoder), config.images, config.encoder.batch_size):
        failures += len(batch.failed)
        for failed in batch.failed:
            logger.warning("%s is skipped: %s", failed.path, failed.reason)
        if batch.encoded:
            vectors.append(batch.vectors)
            encoded += batch.encoded
        if progress is not None:
            progress(Progress("encoding", len(encoded) + failures, len(files), failures))
    return np.concatenate(vectors), encoded


def encode_label_names(index: ExactIndex, config: PipelineConfig, path: Path) -> Float32Array | None:
    """Return the embeddings of the label names (C, d); None where there is no text tower, or it is not wanted."""
    settings, backend = config.retrieval, config.encoder.backend
    wanted = settings.zero_shot_text == "auto" and settings.rule == "auto"
    if not wanted or index.manifest.fingerprint.backend != backend_name(backend) or not may_embed_text(backend):
        return None
    names = [label.replace("_", " ").replace("-", " ") for label in index.label_names]
    texts = [settings.zero_shot_template.replace("{label}", name) for name in names]
    try:
        encoder = open_encoder(config.encoder)
        require_encoder(index, encoder.fingerprint, str(path))
        vectors = encoder.encode_texts(texts) if isinstance(encoder, TextEncoder) else None
    except (EncoderError, MissingExtraError) as error:
        raise CalibrationError(
            f"{error}. The encoder is needed for the label names. Set retrieval.zero_shot_text: off to calibrate "
            "without them."
        ) from error
    return None if vectors is None else index.transform.transform(vectors)
