"""Take the settings of an index where no encoder is named."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmm_classifier.config import PipelineConfig
from lmm_classifier.core.errors import ConfigError, IndexFileError
from lmm_classifier.core.index_location import index_location
from lmm_classifier.index.formats import read_manifest
from lmm_classifier.index.settings.kept import checked_settings

logger: logging.Logger = logging.getLogger(__name__)


def config_of_index(index_path: Path | str, config: PipelineConfig | None = None) -> PipelineConfig:
    """Return the settings for an index: its own encoders and reranker where `config` names none, else `config`.

    An index remembers the encoders and the reranker that it was built with, as far as they can be named without a path
    of this machine or the address of a server. It remembers none where its encoders were given as objects.

    Args:
        index_path: a durable index (folder), an `.npz` file, or a table. Where none is there, `config` is returned.
        config: further settings. `encoder.backend`, `model`, `pooling`, `revision` or `view` name an encoder; other
            keys, such as `encoder.device`, count for each encoder of the index. None: the defaults.

    Example:
        >>> from lmm_classifier import PipelineConfig, config_of_index
        >>> config_of_index("index").encoders[0].backend
        'descriptor'
        >>> config_of_index("index", PipelineConfig.preset("lite")).encoders[0].backend
        'lite'
    """
    config = config or PipelineConfig()
    if config.names_encoders:
        return config
    try:
        manifest = read_manifest(index_location(index_path))
    except (IndexFileError, OSError):  # whoever opens the index says so
        return config
    if manifest is None or not manifest.settings:
        return config
    try:
        remembered = checked_settings(manifest.settings)
    except ConfigError as error:
        logger.warning("The settings that %s remembers are not used: %s. Name its encoder instead.", index_path, error)
        return config
    return _merged(config, remembered, manifest.settings)


def _merged(config: PipelineConfig, remembered: PipelineConfig, kept: Mapping[str, Any]) -> PipelineConfig:
    """Return `config` with the encoders of the index, and with its reranker where `config` names none."""
    merged = config.model_copy(deep=True)
    (section,) = config.encoders
    own = {name: getattr(section, name) for name in section.model_fields_set}
    encoders = remembered.encoders
    for encoder in encoders:
        for name, value in own.items():
            setattr(encoder, name, value)
    merged.encoder = encoders if len(encoders) > 1 else encoders[0]
    _set_unset(merged.retrieval, kept.get("retrieval", {}))
    if not merged.rerank.model_fields_set & {"backend", "model_name"}:
        _set_unset(merged.rerank, kept["rerank"])
        is_chosen = "enabled" in config.rerank.model_fields_set
        if "backend" in kept["rerank"] and not merged.rerank.enabled and not is_chosen:
            logger.warning(
                "The index does not remember where the reranker %s was, so none is asked. Name it in the configuration "
                "to rerank, or set rerank.enabled: false.",
                merged.rerank.backend,
            )
    return merged


def _set_unset(section: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name not in section.model_fields_set:
            setattr(section, name, value)
