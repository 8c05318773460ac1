"""Find the folder of a checkpoint (local, else the hub's cache, else the hub), and name its weights by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmm_classifier.core.optional_imports import import_attribute, import_optional
from lmm_classifier.core.paths import absolute, expand_home, home_is_known, looks_like_path, similar_names

_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]  # never pickled weights
_HUB_FOLDERS = ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME")  # variables that say where the hub's client stores models
_PART = 1 << 20  # bytes read at each end of a weight file


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
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
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
