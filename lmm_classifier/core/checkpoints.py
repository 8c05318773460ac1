"""Find the folder of a checkpoint (local, else the hub's cache, else the hub), and name its weights by content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmm_classifier.core.optional_imports import import_attribute, import_optional

_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]  # never pickled weights
_PART = 1 << 20  # bytes read at each end of a weight file


def resolve_checkpoint(
    model: str, revision: str | None, cache_dir: Path | None, allow_download: bool, extra: str
) -> Path:
    """Return the folder of a checkpoint with safetensors weights.

    Args:
        model: a folder, or a name on the hub.
        revision: branch, tag or commit of a hub model; None is its default branch.
        cache_dir: where hub models are cached; None is the library's own cache.
        allow_download: download a hub model that is not in the cache.
        extra: the extra to name where the hub's client is not installed.

    Raises:
        FileNotFoundError: there is no such folder; the message says why.
    """
    if Path(model).is_dir():
        return _with_weights(Path(model))
    download = import_attribute("huggingface_hub", "snapshot_download", extra)
    reason = "not found"
    for local_only in [True, False] if allow_download else [True]:
        try:
            folder = download(
                model, revision=revision, cache_dir=cache_dir, local_files_only=local_only, allow_patterns=_FILES
            )
            return _with_weights(Path(folder))
        except Exception as error:  # noqa: BLE001 - the hub's client raises errors of several libraries
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
    raise FileNotFoundError(reason)


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


def weights_digest(folder: Path) -> str:
    """Return a digest of config.json and of each weight file's size, head and tail.

    It is the same for a hub cache and a folder. The head of a file holds the names and shapes of all tensors. Both
    ends of the values are enough to tell weights apart.
    """
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(_PART))
            file.seek(max(0, size - _PART))
            digest.update(file.read(_PART))
    return digest.hexdigest()[:16]


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
