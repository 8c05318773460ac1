"""The settings of encoders."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from lmm_classifier.core.settings import PathField, Section


class EncoderConfig(Section):
    """Which encoder turns pictures into vectors."""

    backend: Literal["siglip", "openvino", "onnx", "descriptor"] = "siglip"
    """`siglip` (transformers: SigLIP, SigLIP 2, CLIP), `openvino` (the same, faster on a CPU), `onnx` (an
    exported model), `descriptor` (weight-free)."""
    model: str = "google/siglip-so400m-patch14-384"
    """Hub name or folder (siglip); the same, or the folder of an export (openvino); the folder of an export, or an
    `.onnx` file (onnx); not used by descriptor."""
    revision: str | None = None
    """Branch, tag or commit of a hub model; null means its default branch."""
    cache_dir: PathField | None = None
    """Where hub models are kept; null means the library's own cache."""
    converted_dir: PathField | None = None
    """Where `openvino` keeps the checkpoints that it has converted; null means the user's cache folder."""
    allow_download: bool = True
    """Download a hub model that is not in the cache. The cache is always tried first."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`; only for siglip, the others compute on the CPU."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 where the device computes in it, else float32. An ONNX model has its own."""
    threads: int = Field(default=0, ge=0)
    """Threads that the encoder computes with on a CPU; 0 means one per processor (siglip: as many as torch chooses)."""
    forward_batch: int = Field(default=0, ge=0)
    """Pictures in one forward pass of siglip; 0 means 1 on a CPU, and on CUDA as many as fill the chip."""
    compile: bool = False
    """Let torch compile the tower of siglip: the first pictures take minutes, the others are a little faster."""
    batch_size: int = Field(default=64, ge=1)
    """Pictures after which vectors are kept and verdicts given; changes the speed, never an answer."""
