"""The settings of a classifier: one model, read from YAML or built in Python, which also holds the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError, field_validator

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.redaction import redact
from lmm_classifier.core.settings import PathField, Settings, format_validation_error, holds_secrets, unknown_key
from lmm_classifier.core.yaml_loader import load_yaml
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.rerank.config import RerankConfig


class LoggingConfig(Settings):
    """What is logged, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is written."""
    json_lines: bool = False
    """One JSON object per line instead of plain text."""
    file: PathField | None = None
    """Append to this file instead of writing to standard error."""


# the same as config/offline.yaml: nothing has to be downloaded
OFFLINE: dict[str, Any] = {
    "encoder": {"backend": "descriptor"},
    "rerank": {"backend": "views"},
}


class PipelineConfig(Settings):
    """All settings of a `HybridClassifier`. Unknown keys and wrong types raise a ConfigError that names the key.

    Example:
        >>> from lmm_classifier import PipelineConfig
        >>> config = PipelineConfig.offline()
        >>> config.retrieval.k = 10
        >>> config.set("labels=[stripes, polka_dots]")
        >>> config.retrieval.k, config.labels
        (10, ['stripes', 'polka_dots'])
    """

    labels: list[str] | None = None
    """Only these labels may be answered; null means every label of the index."""
    allow_unknown: bool = True
    """Open set: an image that is close to no example is `unknown`. When false, some label is always given."""
    unknown_label: str = "unknown"
    """The label of an image that is called unknown."""
    encoder: EncoderConfig = EncoderConfig()  # copied for each instance
    retrieval: RetrievalConfig = RetrievalConfig()  # copied for each instance
    rerank: RerankConfig = RerankConfig()  # copied for each instance
    images: ImagesConfig = ImagesConfig()  # copied for each instance
    logging: LoggingConfig = LoggingConfig()  # copied for each instance

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: list[str] | None) -> list[str] | None:
        if labels is not None:
            if not labels:
                raise ValueError("must name at least one label, or be null for every label of the index")
            if twice := sorted({label for label in labels if labels.count(label) > 1}):
                raise ValueError(f"names {', '.join(map(repr, twice))} more than once")
        return labels

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(format_validation_error(type(self), error)) from None

    @classmethod
    def from_yaml(cls, path: Path | str) -> Self:
        """Read a YAML file; absent keys keep their defaults. Raise ConfigError with the path of a wrong key."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"Cannot read the configuration {path}: {error}") from error
        values = load_yaml(text, str(path))
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def offline(cls) -> Self:
        """Return the default that needs no download: the descriptor, and reranking by augmented views."""
        return cls(**OFFLINE)

    def set(self, setting: str) -> None:
        """Change one value by text, such as `retrieval.k=10`; the value is read as YAML.

        Raises:
            ConfigError: the key is unknown or the value is wrong. Nothing is changed then.
        """
        key, equals, text = setting.partition("=")
        *path, last = key.strip().split(".")
        if not equals:
            raise ConfigError(f"Expected KEY=VALUE, such as retrieval.k=10, got {setting!r}")
        section: Settings = self
        for depth, step in enumerate(path):
            section = getattr(section, step, None) if step in type(section).model_fields else None  # type: ignore[assignment]
            if not isinstance(section, Settings):
                raise ConfigError(unknown_key(type(self), (), ".".join(path[: depth + 1])))
        if last not in type(section).model_fields:
            raise ConfigError(unknown_key(type(self), tuple(path), last))
        shown = key if holds_secrets(key) else redact(setting)
        value = load_yaml(f"value: {text}", shown)["value"]
        try:
            setattr(section, last, value)
        except ConfigError as error:
            raise ConfigError(f"{shown}: {error}") from None
