"""Opens the configured encoder: one function per backend.

To add a backend: write one file for it here, add a row to ``_BACKENDS``, and add its name to
``EncoderConfig.backend``. Your own encoder object needs none of this: give it to ``HybridClassifier(encoder=...)``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from lmm_classifier.core.optional_imports import import_attribute, import_optional
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.embeddings.config import EncoderConfig

logger = logging.getLogger(__name__)

DESCRIPTOR_NOTICE = (
    "using the weight-free descriptor: it needs no download, but a trained encoder is far more accurate; "
    "for real work set encoder.backend to siglip, or to lite, which pip installs"
)


def open_encoder(config: EncoderConfig) -> Encoder:
    """Open the configured encoder, and never another one in its place."""
    encoder: Encoder = _BACKENDS[config.backend](config)
    return encoder


def compatible_backends(backend: str) -> tuple[str, ...]:
    """Return the backends whose vectors this one may give: an exported encoder gives those of its checkpoint."""
    return {"onnx": ("onnx", "siglip", "lite"), "openvino": ("openvino", "siglip")}.get(backend, (backend,))


def _open_siglip(config: EncoderConfig) -> Any:
    options = import_attribute("lmm_classifier.embeddings.torch_runner", "ForwardOptions", "siglip")
    return import_attribute("lmm_classifier.embeddings.siglip", "SiglipEncoder", "siglip")(
        config.model,
        revision=config.revision,
        cache_dir=config.cache_dir,
        allow_download=config.allow_download,
        device=config.device,
        dtype=config.dtype,
        forward=options(config.forward_batch_size, config.threads, config.compile),
    )


def _open_openvino(config: EncoderConfig) -> Any:
    import_optional("openvino", "openvino")  # report a missing library before the search for a checkpoint
    model = import_attribute("lmm_classifier.embeddings.export", "exported_or_converted", "openvino")(config)
    encoder = import_attribute("lmm_classifier.embeddings.openvino", "OpenvinoEncoder", "openvino")
    return encoder(model, config.dtype, config.threads)


def _open_onnx(config: EncoderConfig) -> Any:
    encoder = import_attribute("lmm_classifier.embeddings.onnx", "OnnxEncoder", "onnx")
    return encoder(expand_home(config.model), threads=config.threads)


def _open_lite(config: EncoderConfig) -> Any:
    model = import_attribute("lmm_classifier.embeddings.lite", "converted_lite", "lite")(config)
    return import_attribute("lmm_classifier.embeddings.onnx", "OnnxEncoder", "lite")(model, threads=config.threads)


def _open_descriptor(config: EncoderConfig) -> Any:  # noqa: ARG001 - it has no settings
    logger.warning(DESCRIPTOR_NOTICE)
    return import_attribute("lmm_classifier.embeddings.descriptor", "DescriptorEncoder", "all")()


_BACKENDS: dict[str, Callable[[EncoderConfig], Any]] = {
    "siglip": _open_siglip,  # SigLIP, SigLIP 2 and CLIP through transformers
    "openvino": _open_openvino,
    "onnx": _open_onnx,
    "lite": _open_lite,
    "descriptor": _open_descriptor,
}
