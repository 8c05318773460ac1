"""Load parts of a checkpoint through transformers, and refuse weights that do not fit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lmm_classifier.core.checkpoints import mismatched_weight, quiet_transformers
from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.optional_imports import import_attribute

_EXTRA = "siglip"
_NUMBER = re.compile(r"\.\d+\.")  # of a layer in the name of a weight


def load_part(folder: Path, name: str, **options: Any) -> Any:
    """Return `transformers.<name>.from_pretrained(folder)`, without network, reports or code of the checkpoint."""
    if name.startswith("Auto"):
        options["trust_remote_code"] = False  # else transformers asks on the terminal
    with quiet_transformers(_EXTRA):
        return import_attribute("transformers", name, _EXTRA).from_pretrained(folder, local_files_only=True, **options)


def load_model(
    folder: Path, name: str, unused: Iterable[str] = (), elsewhere: Iterable[str] = (), **options: Any
) -> Any:
    """Load a model of which every weight is in the checkpoint, and every layer of the checkpoint in the model.

    transformers fills a missing weight with random numbers, and leaves a weight out that the model has no place for.
    Heads for tasks are left out on purpose.

    Args:
        folder: the checkpoint.
        name: class of the model.
        unused: beginnings of names of weights that may be missing, since their output is not used.
        elsewhere: beginnings of names of weights that belong to another tower.
        options: passed on to `from_pretrained`.

    Raises:
        EncoderError: a weight is missing or has another shape, or a layer has no place.
    """
    options |= {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    model, report = load_part(folder, name, **options)
    if wrong := mismatched_weight(report):
        raise EncoderError(wrong)
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(tuple(unused)))
    if missing:
        raise EncoderError(
            f"the checkpoint has no weight {missing[0]} ({len(missing)} missing) of the {type(model).__name__} that "
            "its config.json describes; such weights would be random"
        )
    layers = tuple({_without_numbers(key) for key in model.state_dict() if _NUMBER.search(key)})
    left = [key for key in report["unexpected_keys"] if not key.startswith(tuple(elsewhere))]
    if left := sorted(key for key in left if _without_numbers(key).endswith(layers)):
        raise EncoderError(
            f"the {type(model).__name__} that config.json describes has no place for the weight {left[0]} of the "
            f"checkpoint ({len(left)} such weights)"
        )
    return model


def load_tower(folder: Path, name: str, part: str, dtype: Any) -> Any:
    """Load one tower of a pair, `part` vision or text, which leaves the other on the disk."""
    whole = load_part(folder, "AutoConfig")
    own = getattr(whole, f"{part}_config", whole)
    if name.endswith("WithProjection"):  # the checkpoint's value is right, the tower's is a default
        own.projection_dim = whole.projection_dim
    other = "text_model." if part == "vision" else "vision_model."
    return load_model(folder, name, elsewhere=[other], config=own, dtype=dtype)


def _without_numbers(key: str) -> str:
    return _NUMBER.sub(".0.", key)
