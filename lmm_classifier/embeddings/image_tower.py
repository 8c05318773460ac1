"""The image tower of a checkpoint of transformers: the module, and the function from its input to embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmm_classifier.core.errors import EncoderError
from lmm_classifier.core.optional_imports import import_optional
from lmm_classifier.embeddings.checkpoint_parts import load_model, load_tower
from lmm_classifier.embeddings.model_types import ModelType
from lmm_classifier.embeddings.pooling import pooled

_EXTRA = "siglip"


@dataclass(frozen=True, slots=True)
class ImageTower:
    """A loaded tower on its device.

    `module` takes the inputs of the image processor. `model` is the whole model where the text tower was loaded
    with it, else the same module.
    """

    module: Any
    model: Any
    kind: ModelType
    pooling: str

    def embeddings(self, inputs: dict[str, Any]) -> Any:
        """Return embeddings (b, dim), not normalized."""
        if self.pooling == "features":
            if self.kind.tower is not None:
                features = getattr(self.module(**inputs), self.kind.features)
                if features is None:
                    raise EncoderError("it has no pooling head; set encoder.pooling to mean")
                return features
            output = self.model.get_image_features(**inputs)
            return getattr(output, "pooler_output", output)  # some types give the tensor itself
        return pooled(self.module(**inputs), self.pooling, self._patches(inputs["pixel_values"]))

    @property
    def known_dim(self) -> int | None:
        """Numbers in an embedding where the configuration says it, else None."""
        config = self.module.config
        if self.pooling != "features" or self.kind.tower is None or not getattr(config, "vision_use_head", True):
            return None
        return int(config.projection_dim if self.kind.features == "image_embeds" else config.hidden_size)

    def patches(self, height: int, width: int) -> int:
        """Return the number of patches of an image; the work and memory of a forward pass grow with it."""
        patch = getattr(self.module.config, "patch_size", None)
        high, wide = (patch, patch) if isinstance(patch, int) else patch if patch and len(patch) == 2 else (16, 16)
        return max((height // high) * (width // wide), 1)

    def require_size(self, shape: tuple[int, int]) -> None:
        """Raise EncoderError if images of `shape`, height and width, are not what the tower was made for.

        Only for towers of a known class, which take one size; `known_dim` says which these are.
        """
        size = getattr(self.module.config, "image_size", None)
        expected = (size, size) if isinstance(size, int) else tuple(size) if size else shape
        if self.known_dim is not None and expected != shape:
            raise EncoderError(
                f"its image processor gives images of {shape[0]} x {shape[1]} pixels, but its config.json says "
                f"{expected[0]} x {expected[1]}"
            )

    def require_patch(self, side: int) -> None:
        """Raise EncoderError if patches of this side in pixels are not what the tower was made for."""
        expected = getattr(self.module.config, "patch_size", side)
        if expected != side:
            raise EncoderError(
                f"its image processor gives patches of {side} pixels a side, but its config.json says {expected}"
            )

    def _patches(self, pixels: Any) -> int:
        if self.pooling == "mean" and pixels.ndim != 4:
            raise EncoderError("the mean of tokens is not known for images of free aspect; set encoder.pooling: auto")
        return self.patches(*pixels.shape[-2:])


def load_image_tower(folder: Path, kind: ModelType, pooling: str, device: str, dtype: Any) -> ImageTower:
    """Load the image tower of a checkpoint on its device and in its number type.

    Raises:
        EncoderError: a weight is missing, or the model has no such output.
    """
    if pooling == "features" and kind.tower is not None:
        module = model = load_tower(folder, kind.tower, "vision", dtype)
    else:
        unused = () if pooling == "pooler" else ("pooler.", "vision_model.pooler.")
        model = load_model(folder, "AutoModel", unused, dtype=dtype)
        if pooling == "features" and not hasattr(model, "get_image_features"):
            raise EncoderError(
                f"{type(model).__name__} has no image features; set encoder.pooling to pooler, cls or mean"
            )
        module = model if pooling == "features" else getattr(model, "vision_model", model)
        model = model if pooling == "features" else module  # the rest of a pair is not used
    model = model.to(device).eval()
    if device.startswith("cuda"):
        model = model.to(memory_format=import_optional("torch", _EXTRA).channels_last)
    return ImageTower(module, model, kind, pooling)
