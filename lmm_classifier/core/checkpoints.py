"""Finds the folder of a checkpoint (local, else the hub's cache, else the hub) and names its weights by content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmm_classifier.core.optional_imports import load, load_module

_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]  # never pickled weights
_PART = 1 << 20  # bytes read at each end of a weight file


def checkpoint_folder(
    model: str, revision: str | None, cache_dir: Path | None, allow_download: bool, extra: str
) -> Path:
    """Return a folder with safetensors weights; raises FileNotFoundError that says why there is none."""
    if Path(model).is_dir():
        return _with_weights(Path(model))
    download = load("huggingface_hub", "snapshot_download", extra)
    reason = "not found"
    for local_only in [True, False] if allow_download else [True]:
        try:
            folder = download(
                model, revision=revision, cache_dir=cache_dir, local_files_only=local_only, allow_patterns=_FILES
            )
            return _with_weights(Path(folder))
        except Exception as error:  # noqa: BLE001 - the hub's client fails in the ways of several libraries
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
    raise FileNotFoundError(reason)


def _with_weights(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json")
    if not any(folder.glob("*.safetensors")):
        raise FileNotFoundError(f"{folder} has no *.safetensors weights (pickled ones are not loaded)")
    return folder


def content_digest(folder: Path) -> str:
    """Digest of config.json and of each weight file's size, head and tail: the same for a hub cache and a folder.

    The head holds the names and shapes of all tensors; both ends of the values are enough to tell weights apart.
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
    """Keep transformers' loading reports and progress bars off the terminal: a tower of a checkpoint is no surprise."""
    log = load_module("transformers.utils.logging", extra)
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
