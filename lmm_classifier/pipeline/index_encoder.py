"""Encodes images and label names with the encoder that an index was built with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

import numpy as np

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import CalibrationError, EncoderError, IndexMismatchError, MissingExtraError
from lmm_classifier.core.fingerprint import backend_name
from lmm_classifier.core.index_location import IndexLocation
from lmm_classifier.core.progress import Progress, ProgressCallback
from lmm_classifier.core.protocols import Encoder, TextEncoder
from lmm_classifier.data.places import Place
from lmm_classifier.embeddings.encode_files import Encoding, encode_files
from lmm_classifier.embeddings.encoded_batch import EncodedFile
from lmm_classifier.embeddings.lazy_encoder import LazyEncoder
from lmm_classifier.embeddings.opening import backends_of, open_encoders
from lmm_classifier.embeddings.registry import may_embed_text, open_encoder
from lmm_classifier.index.matching import places_of, require_backends
from lmm_classifier.index.vector_index import Index

logger: logging.Logger = logging.getLogger(__name__)


def open_encoders_of(indexes: Sequence[Index], config: PipelineConfig, path: IndexLocation) -> tuple[Encoder, ...]:
    """Open the configured encoders, and return that of each index, which has the vectors of one.

    Raises IndexMismatchError where the vectors of an index are of none of them.
    """
    manifest = indexes[0].manifest
    require_backends(manifest, backends_of(config.encoders), str(path))
    encoders = open_encoders(config.encoders)
    opened = dict(zip(places_of(manifest, [e.fingerprint for e in encoders], str(path)), encoders))
    for index in indexes:
        if index.encoder not in opened:
            raise IndexMismatchError(
                f"Index {path} has vectors of {manifest.encoder_names[index.encoder]}, which is not configured. "
                "Configure it too, or drop its vectors with `lmm-classifier build`."
            )
    return tuple(opened[index.encoder] for index in indexes)


def encode_readable(
    encoders: Sequence[Encoder],
    files: Sequence[Place],
    config: PipelineConfig,
    progress: ProgressCallback | None = None,
) -> tuple[list[Float32Array], list[EncodedFile]]:
    """Encode the readable ones of some files: vectors (n, dim) of each encoder, and the files that they are of."""
    vectors = [[np.empty((0, encoder.fingerprint.dim), np.float32)] for encoder in encoders]
    encoded, failures = list[EncodedFile](), 0
    lazy = [LazyEncoder(partial(_same, encoder)) for encoder in encoders]
    for batch in encode_files(files, Encoding(lazy, config.images, config.batch_size)):
        failures += len(batch.failed)
        for failed in batch.failed:
            logger.warning("%s is skipped: %s", failed.path, failed.reason)
        if batch.encoded:
            for of_encoder, new in zip(vectors, batch.vectors):
                of_encoder.append(new)
            encoded += batch.encoded
        if progress is not None:
            progress(Progress("encoding", len(encoded) + failures, len(files), failures))
    return [np.concatenate(of_encoder) for of_encoder in vectors], encoded


def encode_label_names(
    indexes: Sequence[Index], config: PipelineConfig, path: IndexLocation
) -> list[Float32Array | None]:
    """Return for each encoder the embeddings of the label names (C, d).

    None where an encoder has no text tower, or where they are not wanted.
    """
    settings = config.retrieval
    wanted = settings.zero_shot_text == "auto" and settings.rule == "auto"
    return [_embedded_names(index, config, path) if wanted else None for index in indexes]


def _embedded_names(index: Index, config: PipelineConfig, path: IndexLocation) -> Float32Array | None:
    settings, backend = config.retrieval, index.fingerprint.backend
    chosen = [section for section in config.encoders if backend_name(section.backend) == backend and not section.view]
    if not may_embed_text(backend) or index.fingerprint.view or not chosen:
        return None
    names = [label.replace("_", " ").replace("-", " ") for label in index.label_names]
    texts = [settings.zero_shot_template.replace("{label}", name) for name in names]
    try:
        encoders = [open_encoder(section) for section in chosen]
        fingerprints = [encoder.fingerprint for encoder in encoders]
        encoder = encoders[places_of(index.manifest, fingerprints, str(path)).index(index.encoder)]
        vectors = encoder.encode_texts(texts) if isinstance(encoder, TextEncoder) else None
    except (EncoderError, MissingExtraError) as error:
        raise CalibrationError(
            f"{error}. The encoder is needed for the label names. Set retrieval.zero_shot_text: off to calibrate "
            "without them."
        ) from error
    return None if vectors is None else index.transform.transform(vectors)


def _same(encoder: Encoder) -> Encoder:
    return encoder
