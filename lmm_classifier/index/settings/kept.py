"""Choose the settings that an index stores: those that say which models made it, and nothing that is private.

A path on this machine, the address of a server, a header or a key is never stored, and never taken from an index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.paths import absolute, looks_like_path
from lmm_classifier.embeddings.config import EncoderConfig

_KEPT = {
    "encoder": {"backend", "model", "pooling", "revision", "dtype", "view"},
    "rerank": {"backend", "enabled", "model_name"},
    "retrieval": {"cascade"},
}
_WITHOUT_MODEL = {"descriptor", "vectors"}  # backends that need no name of a model


def kept_settings(config: PipelineConfig) -> dict[str, Any]:
    """Return the settings that an index built with `config` stores, by section; empty where they would not do.

    They would not do where an encoder is a file or folder of this machine. A reranker that is one, or on a server, is
    stored as disabled, with its backend.
    """
    encoders = [_of_encoder(section) for section in config.encoders]
    if not all(encoders):
        return {}
    kept: dict[str, Any] = {"encoder": encoders, "rerank": _of_reranker(config)}
    if config.retrieval.cascade:
        kept["retrieval"] = {"cascade": True}
    return kept


def checked_settings(kept: Mapping[str, Any]) -> PipelineConfig:
    """Return the configuration that stored settings make.

    Raises:
        ConfigError: they hold something that is never stored, or that this version does not know.
    """
    encoders = kept.get("encoder")
    sections = {name: values if isinstance(values, list) else [values] for name, values in kept.items()}
    if not isinstance(encoders, list) or not isinstance(kept.get("rerank"), dict):
        raise ConfigError("expected sections of encoders and of a reranker")
    for name, values in sections.items():
        for section in values:
            if not isinstance(section, dict) or not section.keys() <= _KEPT.get(name, set()):
                raise ConfigError(f"{name} has other keys than {', '.join(sorted(_KEPT.get(name, ()))) or 'none'}")
    config = PipelineConfig(**kept)
    if not all(map(_of_encoder, config.encoders)) or _is_local(config.rerank.model_name):
        raise ConfigError("a model is a file or folder of this machine")
    return config


def _of_encoder(section: EncoderConfig) -> dict[str, Any]:
    names = _KEPT["encoder"] - ({"model"} if _needs_no_model(section) else set())
    if "model" in names and _is_local(section.model):
        return {}
    values = section.model_dump(mode="json", include=names)
    default = EncoderConfig().model_dump(mode="json", include=names)
    return {name: value for name, value in values.items() if name in ("backend", "model") or value != default[name]}


def _needs_no_model(section: EncoderConfig) -> bool:
    is_default = section.model == EncoderConfig().model
    return section.backend in _WITHOUT_MODEL or (section.backend == "lite" and is_default)


def _of_reranker(config: PipelineConfig) -> dict[str, Any]:
    section = config.rerank
    if not section.enabled:
        return {"enabled": False}
    if section.backend == "views":
        return {"backend": "views"}
    if section.backend == "vlm" and not _is_local(section.model_name):
        return {"backend": "vlm", "model_name": section.model_name}
    return {"enabled": False, "backend": section.backend}


def _is_local(model: str) -> bool:
    return looks_like_path(model) or absolute(model).exists()
