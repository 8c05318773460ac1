"""How an image becomes a model's input: resized or cropped to bytes, then scaled to numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from lmm_classifier.core.arrays import Float32Array
from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.setting_keys import is_text
from lmm_classifier.core.yaml_loader import load_yaml
from lmm_classifier.embeddings.resize import Box, resize

# one line, as errors are; it can be pasted into the file
EXAMPLE = (
    "{size: 224, fit: crop, resize: 256, resample: bicubic, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], "
    "layout: nchw, channels: rgb}"
)

Side = Annotated[int, Field(ge=1, le=8192)]
Triple = tuple[float, float, float]
Bytes = NDArray[np.uint8]

# steps of an image processor that no preprocessing has
_UNSUPPORTED = {
    "do_pad",
    "do_thumbnail",
    "do_align_long_axis",
    "do_flip_channel_order",
    "do_crop_margin",
    "do_grayscale",
    "crop_to_patches",
    "keep_aspect_ratio",
}
_RESAMPLE = {int(Image.Resampling[name.upper()]): name for name in ("nearest", "bilinear", "bicubic", "lanczos")}


class Source(BaseModel):
    """The checkpoint that a model was exported from; its vectors may be compared with the checkpoint's own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    backend: str
    model: str
    revision: str
    preprocessing: str
    dim: Annotated[int, Field(ge=1)]
    digest: str
    """Digest of the exported files, to detect changes."""
    cosines: dict[str, float] = {}
    """Least cosine with the checkpoint's own vectors, by the number type of the computation."""


class Preprocessing(BaseModel):
    """How an image becomes the model's input. A model whose input takes bytes scales them itself."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    size: Side | tuple[Side, Side]
    fit: Literal["squash", "crop"] = "squash"
    resize: Side | None = None
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    mean: Triple = (0.0, 0.0, 0.0)
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (1.0, 1.0, 1.0)
    layout: Literal["nchw", "nhwc"] = "nchw"
    channels: Literal["rgb", "bgr"] = "rgb"
    input: str | None = None
    output: str | None = None
    source: Source | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    @property
    def side(self) -> int:
        """The longest side in pixels to which an image is resized."""
        return max(*self.shape, self.resize or 1)

    @classmethod
    def from_yaml(cls, path: Path) -> Preprocessing:
        """Read the YAML; raises ConfigError that names the wrong key."""
        try:
            text = path.read_text(encoding="utf-8")
            return cls(**load_yaml(text, str(path), lambda keys, word: is_text(cls, keys, word)))
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)
            )
            raise ConfigError(f"{path}: {faults}; expected keys such as {EXAMPLE}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error

    @classmethod
    def of_processor(cls, settings: Mapping[str, Any]) -> Self | None:
        """Return the preprocessing of an image processor of transformers; None where it is not a resize or crop.

        Args:
            settings: the settings of the processor, as in `preprocessor_config.json`.
        """
        if not settings.get("do_resize", True) or _UNSUPPORTED & {key for key, value in settings.items() if value}:
            return None
        resample = _RESAMPLE.get(int(settings.get("resample", Image.Resampling.BICUBIC)))
        values, sides = _scaling(settings), _sides(settings)
        if resample is None or values is None or sides is None:
            return None
        return cls(**{"resample": resample, **values, **sides})

    def preprocess(self, image: Image.Image) -> Bytes:
        """Resize or crop an RGB image to the input size of the model, (height, width, 3)."""
        height, width = self.shape
        return resize(image, (width, height), self.resample, self._box(image))

    def scaled(self, images: Sequence[Bytes]) -> Float32Array:
        """Scale preprocessed images to the model's values, in its layout with the batch axis first."""
        factor = 1 / (255 * np.array(self.std))
        shift = np.array(self.mean) / np.array(self.std)
        values = np.stack(images).astype(np.float32)  # (n, h, w, 3)
        values *= factor.astype(np.float32)
        values -= shift.astype(np.float32)
        return np.ascontiguousarray(self.laid_out(values))

    def laid_out(self, values: NDArray[Any]) -> NDArray[Any]:
        """Reorder the axes and channels of (n, h, w, 3) in RGB to the model's layout."""
        if self.channels == "bgr":
            values = values[..., ::-1]
        return values.transpose(0, 3, 1, 2) if self.layout == "nchw" else values

    def _box(self, image: Image.Image) -> Box | None:
        """Return the part of the image that a resize and a center crop would leave; None is the whole.

        Both are rounded to whole pixels as in transformers and torchvision; half a pixel changes a vector visibly.
        """
        height, width = self.shape
        if self.fit == "squash":
            if self.resize is None:
                return None
            resized = [self.resize, self.resize]
        else:
            shorter, target = min(image.size), self.resize or max(height, width)
            resized = [target * side // shorter for side in image.size]
        scales = [side / target_side for side, target_side in zip(image.size, resized)]
        box = [0.0] * 4
        for axis, wanted in enumerate((width, height)):
            length = min(wanted, resized[axis])
            start = (resized[axis] - length) // 2
            box[axis], box[axis + 2] = start * scales[axis], min((start + length) * scales[axis], image.size[axis])
        return box[0], box[1], box[2], box[3]


def _scaling(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return `mean` and `std` so that (pixel / 255 - mean) / std is the value of an image processor."""
    factor = 255 * settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 255.0
    factor = 1.0 if abs(factor - 1) < 1e-9 else factor
    offset = 1.0 if settings.get("rescale_offset") else 0.0
    mean, std = (_three(settings.get(name)) for name in ("image_mean", "image_std"))
    repeats = int(bool(settings.get("do_normalize", True))) + int(bool(settings.get("include_top")))
    if repeats and (mean is None or std is None):
        return None
    mean, std = (mean, std) if mean is not None and std is not None else ((0.0,) * 3, (1.0,) * 3)
    if not settings.get("do_normalize", True):
        mean = (0.0,) * 3
    return {
        "mean": tuple((offset + value) / factor for value in mean),
        "std": tuple(value**repeats / factor for value in std),
    }


def _three(value: Any) -> tuple[float, ...] | None:
    """Return one number per channel."""
    if isinstance(value, int | float):
        return (float(value),) * 3
    return tuple(map(float, value)) if value and len(value) == 3 else None


def _sides(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return `size`, and `fit` and `resize` where a part of the image is left out."""
    size = {key: side for key, side in (settings.get("size") or {}).items() if side is not None}
    crop = settings.get("crop_size") if settings.get("do_center_crop") else None
    shorter = size.get("shortest_edge") if len(size) == 1 else None
    if share := settings.get("crop_pct"):
        if shorter is None or crop is not None:
            return None
        if shorter >= 384:  # a rule of ConvNeXt: large images are not cropped
            return {"size": (shorter, shorter)}
        return {"size": (shorter, shorter), "fit": "crop", "resize": int(shorter / share)}
    if "height" in size and "width" in size and len(size) == 2 and crop is None:
        return {"size": (size["height"], size["width"])}
    if crop is None or not {"height", "width"} <= {*crop}:
        return None
    part, resized = (crop["height"], crop["width"]), shorter or size.get("height")
    if resized is None or max(part) > resized or (shorter is None and size.get("width") != resized):
        return None  # a part that is larger than the image has a border
    return {"size": part, "fit": "squash" if shorter is None else "crop", "resize": resized}
