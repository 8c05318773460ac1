"""The settings of a classifier: one model, read from YAML or built in Python, which also holds the defaults."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ValidationError, field_validator, model_validator

from lmm_classifier.core.environment_settings import environment_settings
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.labels import normal_label, require_label, unknown_clash
from lmm_classifier.core.paths import absolute, expand_home
from lmm_classifier.core.redaction import redact
from lmm_classifier.core.setting_keys import is_text, with_sections
from lmm_classifier.core.settings import (
    OneOrSeveral,
    PathField,
    Settings,
    format_validation_error,
    holds_secrets,
    unknown_key,
)
from lmm_classifier.core.yaml_loader import load_yaml, load_yaml_value
from lmm_classifier.data.config import ImagesConfig
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.neighbors.config import RetrievalConfig
from lmm_classifier.rerank.config import RerankConfig
from lmm_classifier.server.config import ServerConfig

_PRESETS = files("lmm_classifier") / "presets"
_SETTING = re.compile(r"\s*([\w.]*\w)\s*(?:=|:(?=\s|$))(.*)", re.DOTALL)


class LoggingConfig(Settings):
    """What is logged, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe level that is written."""
    json_lines: bool = False
    """One JSON object per line instead of plain text."""
    file: PathField | None = None
    """Append to this file instead of writing to standard error."""


def preset_names() -> list[str]:
    """Return the names of the presets, which come with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _PRESETS.iterdir())


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
    hierarchy: PathField | None = None
    """A YAML file with coarse labels above the labels. Where no label is sure enough, the answer is a coarse one that
    is. Null: the folders above, where the index was built with `label_from: path`, else none."""
    allow_unknown: bool = True
    """Open set: an image that is close to no example is `unknown`. When false, some label is always given."""
    unknown_label: str = "unknown"
    """The label of an image that is called unknown. No label of the dataset may be like it, in any case."""
    encoder: OneOrSeveral[EncoderConfig] = EncoderConfig()  # copied for each instance
    """One encoder, or a list of them: their answers are fused; see `retrieval.cascade`."""
    retrieval: RetrievalConfig = RetrievalConfig()  # copied for each instance
    rerank: RerankConfig = RerankConfig()  # copied for each instance
    images: ImagesConfig = ImagesConfig()  # copied for each instance
    server: ServerConfig = ServerConfig()  # copied for each instance
    logging: LoggingConfig = LoggingConfig()  # copied for each instance

    @field_validator("labels")
    @classmethod
    def _distinct(cls, labels: list[str] | None) -> list[str] | None:
        if labels is not None:
            if not labels:
                raise ValueError("must name at least one label, or be null for every label of the index")
            labels = [normal_label(label) for label in labels]
            if twice := sorted({label for label in labels if labels.count(label) > 1}):
                raise ValueError(f"names {', '.join(map(repr, twice))} more than once")
        return labels

    @field_validator("unknown_label")
    @classmethod
    def _label(cls, unknown_label: str) -> str:
        return require_label(unknown_label)

    @model_validator(mode="after")
    def _unknown_is_no_label(self) -> Self:
        if message := unknown_clash(self.labels or (), self.unknown_label):
            raise ValueError(message)
        return self

    @property
    def encoders(self) -> list[EncoderConfig]:
        """Return the sections of all encoders, one or several."""
        return self.encoder if isinstance(self.encoder, list) else [self.encoder]

    @property
    def names_encoders(self) -> bool:
        """Return whether encoders were named; else they are the default one."""
        return isinstance(self.encoder, list) or self.encoder.names_encoder

    @property
    def batch_size(self) -> int:
        """Return the number of images after which vectors are stored and results returned."""
        return self.encoders[0].batch_size

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(format_validation_error(type(self), error)) from None

    @classmethod
    def from_yaml(cls, path: Path | str) -> Self:
        """Read a YAML file; absent keys keep their defaults.

        A relative path in the file starts at the folder of the file. `~` is the home folder.

        Raises:
            ConfigError: the file cannot be read, or a key or a value is wrong; the message names it.
        """
        file = expand_home(path)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"Cannot read the configuration {path}: {error}. {_advice(str(path))}") from error
        config = cls._parse(text, str(path))
        config.start_paths_at(absolute(file).parent)
        return config

    @classmethod
    def preset(cls, name: str) -> Self:
        """Return settings that come with the package.

        `default`; `offline`, which needs no download; `lite`, a trained encoder by pip alone, fused with the
        descriptor; `fused`, SigLIP and the descriptor; `cascade`, a small and a large SigLIP; `vectors`, for vectors
        instead of images.

        Raises:
            ConfigError: there is no such preset.
        """
        if name not in preset_names():
            raise ConfigError(f"There is no preset {name!r}. {_advice(name)}")
        return cls._parse((_PRESETS / f"{name}.yaml").read_text(encoding="utf-8"), f"preset {name}")

    @classmethod
    def offline(cls) -> Self:
        """Return the preset that needs no download: the descriptor, and reranking by augmented views."""
        return cls.preset("offline")

    def set(self, setting: str) -> None:
        """Change one value by text, such as `retrieval.k=10` or `retrieval.k: 10`; the value is read as YAML.

        Raises:
            ConfigError: the key is unknown or the value is wrong. Nothing is changed then.
        """
        parts = _SETTING.fullmatch(setting)
        if parts is None:
            raise ConfigError(f"Expected KEY=VALUE, such as retrieval.k=10, got {setting!r}")
        key, text = parts.groups()
        *path, last = key.split(".")
        section = self._section(path)
        if last not in type(section).model_fields:
            raise ConfigError(unknown_key(type(self), tuple(path), last))
        keys_to_value, shown = (*path, last), key if holds_secrets(key) else redact(setting)
        try:
            places = tuple("*" if key.isdecimal() else key for key in keys_to_value)
            value = load_yaml_value(text, shown, lambda keys, word: is_text(type(self), (*places, *keys), word))
        except ConfigError as error:
            hint = " Put the text in quotes." if is_text(type(self), places, text) else ""
            raise ConfigError(f"{error}.{hint}") from None
        try:
            setattr(section, last, value)
        except ConfigError as error:
            raise ConfigError(f"{shown}: {error}") from None

    def set_from_environment(self, environment: Mapping[str, str]) -> None:
        """Change the values that variables name, such as `LMM_CLASSIFIER__RETRIEVAL__K=10`, each as by `set`.

        The command line does so with `os.environ`. The library reads no setting from the environment by itself.

        Raises:
            ConfigError: a variable with this prefix names no setting, or its value is wrong.
        """
        for name, setting in environment_settings(environment).items():
            try:
                self.set(setting)
            except ConfigError as error:
                raise ConfigError(f"The environment variable {name}: {error}") from None

    def _section(self, path: Sequence[str]) -> Settings:
        """Return the section at these keys; one of several has its number, from 0, as a key."""
        section: Settings | list[Settings] = self
        for depth, step in enumerate(path):
            name = ".".join(path[: depth + 1])
            if isinstance(section, list):
                if not step.isdecimal() or int(step) >= len(section):
                    raise ConfigError(f"{name}: expected one of 0 to {len(section) - 1}, got {step!r}")
                section = section[int(step)]
                continue
            if depth and step.isdecimal():
                former, rest = ".".join(path[:depth]), ".".join(path[depth + 1 :])
                raise ConfigError(
                    f"{former} is one section, not a list. Name {former}.{rest or 'KEY'} instead of {name}."
                )
            section = getattr(section, step, None) if step in type(section).model_fields else None  # type: ignore[assignment]
            is_list = isinstance(section, list) and all(isinstance(item, Settings) for item in section)
            if not (isinstance(section, Settings) or is_list):
                raise ConfigError(unknown_key(type(self), (), name))
        if isinstance(section, list):
            name = ".".join(path)
            raise ConfigError(f"{name} is a list of {len(section)}. Name one of them, such as {name}.0.")
        return section

    @classmethod
    def _parse(cls, text: str, source: str) -> Self:
        values = load_yaml(text, source, lambda keys, word: is_text(cls, keys, word))
        try:
            return cls(**with_sections(cls, values))
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from None


def _advice(name: str) -> str:
    """Return what may have been meant by the name of a configuration that does not exist."""
    names = preset_names()
    similar = difflib.get_close_matches(name.removesuffix(".yaml").rpartition("/")[2], names, n=1)
    return f"Presets: {', '.join(names)}." + (f" Did you mean {similar[0]!r}?" if similar else "")
