"""Find the folder of a checkpoint (local, else the hub's cache, else the hub), and name its weights by content."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmm_classifier.core.file_digests import files_digest
from lmm_classifier.core.optional_imports import import_attribute, import_optional
from lmm_classifier.core.paths import absolute, expand_home, home_is_known, looks_like_path, similar_names
from lmm_classifier.core.text import first_line

_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]  # never pickled weights
# files that decide what a checkpoint answers: weights, adapters, settings, image processor, tokenizer, chat template
_LOADED = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "chat_template.*",
    "*.jinja",
)
_HUB_FOLDERS = ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME")  # variables that say where the hub's client stores models


@dataclass(frozen=True, slots=True)
class HubOptions:
    """Where a checkpoint with a hub name comes from.

    `revision` is a branch, tag or commit, None the default branch; `cache_dir` None is the library's own cache.
    """

    revision: str | None = None
    cache_dir: Path | None = None
    allow_download: bool = True


HUB = HubOptions()


def resolve_checkpoint(
    model: str, revision: str | None, cache_dir: Path | None, allow_download: bool, extra: str
) -> Path:
    """Return the folder of a checkpoint with safetensors weights.

    Args:
        model: a folder, or a name on the hub. A folder comes first; `./name` and paths are always folders.
        revision: branch, tag or commit of a hub model; None is its default branch.
        cache_dir: where hub models are cached; None is the library's own cache.
        allow_download: download a hub model that is not in the cache.
        extra: the extra to name where the hub's client is not installed.

    Raises:
        FileNotFoundError: there is no such folder; the message says why.
    """
    path = expand_home(model)
    if path.is_dir():
        return _with_weights(path)
    if path.exists():
        raise FileNotFoundError(f"{path} is a file, expected the folder of a checkpoint")
    similar = similar_names(path)
    if looks_like_path(model):
        raise FileNotFoundError(_joined(f"there is no folder {absolute(path)}", similar))
    if cache_dir is None and not (home_is_known() or any(map(os.environ.get, _HUB_FOLDERS))):
        raise FileNotFoundError(
            "the home folder is unknown, and with it the hub's cache. Set HOME, HF_HOME or cache_dir"
        )
    download = import_attribute("huggingface_hub", "snapshot_download", extra)
    reason = "not found"
    for local_only in [True, False] if allow_download else [True]:
        try:
            folder = download(
                model, revision=revision, cache_dir=cache_dir, local_files_only=local_only, allow_patterns=_FILES
            )
            return _with_weights(Path(folder))
        except Exception as error:  # noqa: BLE001 - the hub's client raises errors of several libraries
            reason = f"{type(error).__name__}: {first_line(error)}" if str(error) else type(error).__name__
            if type(error).__name__ == "HFValidationError":
                reason = "it is no folder, and cannot be the name of a model on the hub"
                break
    raise FileNotFoundError(_joined(reason, similar))


def _joined(reason: str, advice: str) -> str:
    return f"{reason}. {advice}" if advice else reason


def _with_weights(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json")
    if not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(f"{folder} has no *.safetensors weights (pickled weights are not loaded)")
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """Return the `config.json` of a checkpoint; raise ValueError if it is not a JSON object."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its config.json is not JSON ({error})") from None
    if not isinstance(config, dict):
        raise ValueError(f"its config.json holds a {type(config).__name__}, expected an object")
    return config


def quantization(config: dict[str, Any]) -> str | None:
    """Return the form of quantized weights that a `config.json` or a part of it names; None for plain ones.

    Raises:
        ValueError: its settings are no object.
    """
    parts = [config, *(part for name, part in config.items() if name.endswith("_config") and isinstance(part, dict))]
    settings = next((part["quantization_config"] for part in parts if part.get("quantization_config")), None)
    if settings is None:
        return None
    if not isinstance(settings, dict):
        raise ValueError(f"its quantization_config is a {type(settings).__name__}, expected an object")
    return str(settings.get("quant_method") or ("bitsandbytes" if any("load_in" in key for key in settings) else ""))


def mismatched_weight(report: dict[str, Any]) -> str | None:
    """Return what is wrong with the shapes of weights, from the report of a loaded model; None if nothing is.

    The model has to be loaded with `ignore_mismatched_sizes`. The error of transformers itself names no weight.
    """
    wrong = sorted((str(name), tuple(found), tuple(wanted)) for name, found, wanted in report["mismatched_keys"])
    if not wrong:
        return None
    name, found, wanted = wrong[0]
    others = f" ({len(wrong)} such weights)" if len(wrong) > 1 else ""
    return f"its weight {name} has the shape {found}, but its config.json says {wanted}{others}"


def checkpoint_digest(folder: Path) -> str:
    """Return a digest of all bytes of all files from which a model, its image processor and its tokenizer are loaded.

    It is the same for a hub cache and a folder. Other files, such as a README, do not count.

    Raises:
        OSError: a file cannot be read.
    """
    files = {path.name: path for pattern in _LOADED for path in folder.glob(pattern)}
    return files_digest(files | {name: folder / name for name in _named_weights(folder)})


def _named_weights(folder: Path) -> Iterator[str]:
    """Yield the files of weights that the settings or a list of shards name; they may lie in other folders."""
    shards = [path.name for path in folder.glob("*.safetensors.index.json")]
    with suppress(OSError, ValueError):
        if isinstance(chosen := read_config(folder).get("transformers_weights"), str):
            yield chosen
            shards += [chosen] if chosen.endswith(".json") else []
    for name in shards:
        with suppress(OSError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
            named = json.loads((folder / name).read_bytes())["weight_map"].values()
            yield from {shard for shard in named if isinstance(shard, str)}


@contextmanager
def quiet_transformers(extra: str) -> Iterator[None]:
    """Keep transformers' loading reports and progress bars off the terminal.

    It reports the weights of a checkpoint that one tower leaves unused, which is expected here.
    """
    log = import_optional("transformers.utils.logging", extra)
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
