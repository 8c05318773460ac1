"""What encoders ask of a GPU, and what GPUs can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lmm_classifier.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class VisionTransformer:
    """The shape of a vision transformer.

    Example:
        >>> from lmm_classifier.distributed.capacity.hardware import VisionTransformer
        >>> round(VisionTransformer(27, 1152, 4304, side=384, patch=14, dim=1152, pooled=True).gflop)
        670
    """

    layers: int
    width: int  # numbers in a token
    hidden: int  # numbers in the hidden layer of a block
    side: int  # pixels of an image
    patch: int  # pixels of the side of a patch
    dim: int  # numbers in an embedding
    pooled: bool = False  # by attention, as SigLIP; else one more token stands for the image

    @property
    def gflop(self) -> float:
        """Billions of floating-point operations for an image; a multiplication with its addition counts as two."""
        patches = (self.side // self.patch) ** 2
        tokens = patches + (not self.pooled)
        token = 4 * self.width**2 + 2 * self.width * self.hidden  # its products in a layer
        layer = tokens * token + 2 * tokens**2 * self.width
        first = 3 * self.patch**2 * self.width * patches
        head = 2 * patches * self.width**2 if self.pooled else 0
        return 2 * (self.layers * layer + first + head) / 1e9


_SO400M = VisionTransformer(27, 1152, 4304, side=384, patch=14, dim=1152, pooled=True)
_SIGLIP_BASE = VisionTransformer(12, 768, 3072, side=224, patch=16, dim=768, pooled=True)

# encoder -> its shape, from the configuration that each publishes
ENCODERS: Mapping[str, VisionTransformer] = MappingProxyType(
    {
        "google/siglip-so400m-patch14-384": _SO400M,
        "google/siglip2-so400m-patch14-384": _SO400M,
        "google/siglip-large-patch16-384": VisionTransformer(24, 1024, 4096, 384, 16, 1024, pooled=True),
        "google/siglip-base-patch16-224": _SIGLIP_BASE,
        "google/siglip2-base-patch16-224": _SIGLIP_BASE,
        "openai/clip-vit-large-patch14": VisionTransformer(24, 1024, 4096, side=224, patch=14, dim=768),
        "openai/clip-vit-base-patch32": VisionTransformer(12, 768, 3072, side=224, patch=32, dim=512),
        "facebook/dinov2-base": VisionTransformer(12, 768, 3072, side=224, patch=14, dim=768),
    }
)

# GPU -> peak TFLOP/s of dense bfloat16 (float16 on a T4), from the data sheet of its maker
GPUS: Mapping[str, float] = MappingProxyType(
    {
        "b200": 2250.0,
        "h200": 989.4,
        "h100": 989.4,
        "a100": 312.0,
        "l40s": 362.0,
        "l4": 121.0,
        "a10": 125.0,
        "t4": 65.0,
        "mi300x": 1307.4,
    }
)


def peak_tflops(gpu: str) -> float:
    """Return the peak of a GPU in TFLOP/s; raise ConfigError for an unknown one."""
    if gpu.lower() not in GPUS:
        raise ConfigError(
            f"Unknown GPU {gpu!r}. Expected one of {', '.join(GPUS)}; for another one set the assumption gpu_tflops, "
            "the TFLOP/s that it reaches."
        )
    return GPUS[gpu.lower()]


def encoder_shape(encoder: str) -> VisionTransformer:
    """Return the shape of an encoder; raise ConfigError for an unknown one."""
    if encoder not in ENCODERS:
        raise ConfigError(
            f"Unknown encoder {encoder!r}. Expected one of {', '.join(ENCODERS)}; for another one set the assumptions "
            "encoder_gflop, for an image, and vector_numbers, in an embedding."
        )
    return ENCODERS[encoder]
