"""Settings that stand in environment variables, as containers give them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lmm_classifier.core.errors import ConfigError

PREFIX = "LMM_CLASSIFIER__"  # two underscores: systems set names with one for a service, such as LMM_CLASSIFIER_PORT
_KEY = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


def environment_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return each variable that begins with `LMM_CLASSIFIER__` with its setting, such as `retrieval.k=10`.

    `LMM_CLASSIFIER__RETRIEVAL__K` names `retrieval.k`, in any case. A section comes before its keys, so that a list of
    encoders can be given by one variable and changed by others.

    Raises:
        ConfigError: a name is no way to a setting, or two names differ in case only.
    """
    settings: dict[str, str] = {}
    variables: dict[str, str] = {}  # by the key that they name
    for name in sorted(environment, key=lambda name: (name.count("__"), name)):
        if not name.upper().startswith(PREFIX):
            continue
        keys = name[len(PREFIX) :].lower().split("__")
        if not all(_KEY.fullmatch(key) for key in keys):
            raise ConfigError(
                f"The environment variable {name} names no setting. Expected {PREFIX}SECTION__KEY, such as "
                f"{PREFIX}RETRIEVAL__K for retrieval.k."
            )
        key = ".".join(keys)
        if key in variables:
            raise ConfigError(f"The environment variables {variables[key]} and {name} both set {key}. Remove one.")
        variables[key], settings[name] = name, f"{key}={environment[name]}"
    return settings
