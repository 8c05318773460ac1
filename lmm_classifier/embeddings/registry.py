"""Opens the configured encoder: one function per backend.

To add a backend: write one file for it here, add a row to ``_BACKENDS``, and add its name to
``EncoderConfig.backend``. Your own encoder object needs none of this: give it to ``HybridClassifier(encoder=...)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lmm_classifier.core.checkpoints import HubOptions
from lmm_classifier.core.fingerprint import backend_name
from lmm_classifier.core.optional_imports import import_attribute, import_optional
from lmm_classifier.core.paths import expand_home
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.embeddings.config import EncoderConfig


def open_encoder(config: EncoderConfig) -> Encoder:
    """Open the configured encoder, and never another one in its place."""
    encoder: Encoder = _BACKENDS[config.backend](config)
    return encoder


def compatible_backends(backend: str) -> tuple[str, ...]:
    """Return the backends, as fingerprints name them, whose vectors this one may give.

    An exported encoder gives those of its checkpoint.
    """
    own = backend_name(backend)
    return {"onnx": (own, "transformers", "lite"), "openvino": (own, "transformers")}.get(own, (own,))


def may_embed_text(backend: str) -> bool:
    """Return whether encoders of a backend can have a text tower; those of the others need not be opened for it."""
    return backend_name(backend) == "transformers"


def _open_transformers(config: EncoderConfig) -> Any:
    options = import_attribute("lmm_classifier.embeddings.torch_runner", "ForwardOptions", "siglip")
    return import_attribute("lmm_classifier.embeddings.transformers", "TransformersEncoder", "siglip")(
        config.model,
        hub=HubOptions(config.revision, config.cache_dir, config.allow_download),
        device=config.device,
        dtype=config.dtype,
        forward=options(config.forward_batch_size, config.threads, config.compile),
        pooling=config.pooling,
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
    return import_attribute("lmm_classifier.embeddings.descriptor", "DescriptorEncoder", "all")()


def _open_vectors(config: EncoderConfig) -> Any:  # noqa: ARG001 - there is none
    return import_attribute("lmm_classifier.embeddings.given", "no_encoder", "all")()


_BACKENDS: dict[str, Callable[[EncoderConfig], Any]] = {
    "transformers": _open_transformers,
    "siglip": _open_transformers,  # a name for it
    "openvino": _open_openvino,
    "onnx": _open_onnx,
    "lite": _open_lite,
    "descriptor": _open_descriptor,
    "vectors": _open_vectors,
}
