"""Opens the configured encoder."""

from __future__ import annotations

import logging
from pathlib import Path

from lmm_classifier.core.optional_imports import load, load_module
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.embeddings.config import EncoderConfig

logger = logging.getLogger(__name__)

DESCRIPTOR_NOTICE = (
    "using the weight-free descriptor: it needs no download, but a trained encoder is far more accurate; "
    "for real work set encoder.backend to siglip or onnx"
)


def open_encoder(config: EncoderConfig) -> Encoder:
    """Open the configured encoder; never another one in its place."""
    encoder: Encoder
    if config.backend == "descriptor":
        logger.warning(DESCRIPTOR_NOTICE)
        encoder = load("lmm_classifier.embeddings.descriptor", "DescriptorEncoder", "all")()
    elif config.backend == "onnx":
        encoder = load("lmm_classifier.embeddings.onnx", "OnnxEncoder", "onnx")(
            Path(config.model), threads=config.threads
        )
    elif config.backend == "openvino":
        load_module("openvino", "openvino")  # what is missing is said before a checkpoint is looked for
        find = load("lmm_classifier.embeddings.export", "exported_or_converted", "openvino")
        encoder = load("lmm_classifier.embeddings.openvino", "OpenvinoEncoder", "openvino")(
            find(config), config.dtype, config.threads
        )
    else:
        encoder = load("lmm_classifier.embeddings.siglip", "SiglipEncoder", "siglip")(
            config.model,
            revision=config.revision,
            cache_dir=config.cache_dir,
            allow_download=config.allow_download,
            device=config.device,
            dtype=config.dtype,
            forward=load("lmm_classifier.embeddings.torch_runner", "Forward", "siglip")(
                config.forward_batch, config.threads, config.compile
            ),
        )
    return encoder


def backends_of(backend: str) -> tuple[str, ...]:
    """The backends whose vectors an encoder of this one may give: an exported one gives those of its checkpoint."""
    return (backend, "siglip") if backend in ("onnx", "openvino") else (backend,)
