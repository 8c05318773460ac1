"""Open all configured encoders. Two views of one model share it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.fingerprint import encoder_names
from lmm_classifier.core.protocols import Encoder
from lmm_classifier.core.reopening import Closable
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.registry import compatible_backends, open_encoder
from lmm_classifier.embeddings.view import CenterView

logger: logging.Logger = logging.getLogger(__name__)

_DESCRIPTOR_NOTICE = (
    "using the weight-free descriptor: it needs no download, but a trained encoder is far more accurate; "
    "for real work set encoder.backend to transformers, or to lite, which pip installs"
)

Given = Encoder | Sequence[Encoder] | None  # encoders that are loaded already; None: the configured ones


def open_encoders(configs: Sequence[EncoderConfig], given: Given = None, *, advise: bool = True) -> tuple[Encoder, ...]:
    """Return the encoders that are given, or open the configured ones.

    Args:
        configs: the configured encoders.
        given: encoders that are loaded already.
        advise: where only the descriptor is configured, log that a trained encoder is more accurate.

    Raises:
        ConfigError: two encoders are the same, or there is none.
    """
    encoders = _opened(configs, advise) if given is None else tuple(given) if isinstance(given, Sequence) else (given,)
    if not encoders:
        raise ConfigError("expected an encoder, got an empty list")
    if wrong := [
        type(encoder).__name__ for encoder in encoders if isinstance(encoder, type) or not isinstance(encoder, Encoder)
    ]:
        raise ConfigError(f"expected an encoder, or a list or tuple of encoders, got {', '.join(wrong)}")
    fingerprints = [encoder.fingerprint for encoder in encoders]
    spaces = [fingerprint.space_id for fingerprint in fingerprints]
    if twice := [name for name, space in zip(encoder_names(fingerprints), spaces) if spaces.count(space) > 1]:
        raise ConfigError(
            f"encoder: {' and '.join(twice)} give the same vectors. Name each encoder once, or on another view."
        )
    return encoders


def _opened(configs: Sequence[EncoderConfig], advise: bool) -> tuple[Encoder, ...]:
    models: list[tuple[EncoderConfig, Encoder]] = []
    encoders = []
    if advise and all(
        config.backend == "descriptor" for config in configs
    ):  # with a trained encoder it is a good choice
        logger.warning(_DESCRIPTOR_NOTICE)
    for config in configs:
        whole = config.model_copy(update={"view": None})
        model = next((encoder for known, encoder in models if known == whole), None)
        if model is None:
            model = open_encoder(whole)
            models.append((whole, model))
        encoders.append(CenterView(model, config.view) if config.view else model)
    return tuple(encoders)


def backends_of(configs: Sequence[EncoderConfig], given: Given = None) -> list[tuple[str, ...]]:
    """Return for each encoder the backends whose vectors it may give, its own first, without opening any."""
    if given is None:
        return [compatible_backends(config.backend) for config in configs]
    return [(encoder.fingerprint.backend,) for encoder in open_encoders(configs, given)]


def close_encoders(encoders: Sequence[Encoder]) -> None:
    """Give back the models of encoders."""
    for encoder in encoders:
        model = encoder.encoder if isinstance(encoder, CenterView) else encoder
        if isinstance(model, Closable):
            model.close()
