"""How a picture becomes a model's input: resized or cropped to bytes, then scaled to numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from lmm_classifier.core.errors import ConfigError
from lmm_classifier.core.protocols import FloatArray
from lmm_classifier.core.yaml_loader import read_yaml
from lmm_classifier.embeddings.resize import Box, resize

TEMPLATE = """size: 224            # side in pixels that the model sees, or [height, width]
fit: crop            # crop: shorter side to `resize`, then the centre; squash: both sides to `size`
resize: 256          # only for crop; default: the larger of size
resample: bicubic    # nearest, bilinear, bicubic, lanczos
mean: [0.5, 0.5, 0.5]  # values are pixel / 255, then (value - mean) / std
std: [0.5, 0.5, 0.5]
layout: nchw         # or nhwc
channels: rgb        # or bgr
# input: NAME        # needed when the model has several inputs
# output: NAME       # needed when the model has several outputs
"""

Side = Annotated[int, Field(ge=1, le=8192)]
Triple = tuple[float, float, float]
Bytes = NDArray[np.uint8]

_RESAMPLE = {int(Image.Resampling[name.upper()]): name for name in ("nearest", "bilinear", "bicubic", "lanczos")}


class Source(BaseModel):
    """The checkpoint that a model was exported from: its vectors may meet those of the checkpoint itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backend: str
    model: str
    revision: str
    preprocessing: str
    dim: Annotated[int, Field(ge=1)]
    digest: str
    """Digest of the exported files, by which a changed one is noticed."""
    cosines: dict[str, float] = {}
    """Least cosine with the checkpoint's own vectors, by the number type of the computation."""


class Preprocessing(BaseModel):
    """How a picture becomes the model's input. A model whose input takes bytes scales them itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
        """The longest side in pixels to which a picture is resized."""
        return max(*self.shape, self.resize or 1)

    @classmethod
    def from_yaml(cls, path: Path) -> Preprocessing:
        """Read the YAML; raises ConfigError with the key that is wrong."""
        try:
            return cls(**read_yaml(path.read_text(encoding="utf-8"), str(path)))
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_url=False)
            )
            raise ConfigError(f"{path}: {faults}; expected keys such as\n{TEMPLATE}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error

    @classmethod
    def of_processor(cls, said: Mapping[str, Any]) -> Self | None:
        """What an image processor of transformers does, from its settings; None where that is something else."""
        size, crop = said.get("size") or {}, said.get("crop_size") or {}
        mean, std = said.get("image_mean"), said.get("image_std")
        normalised = bool(said.get("do_normalize", True))
        scaled = said.get("do_rescale", True) and abs(said.get("rescale_factor", 1 / 255) - 1 / 255) < 1e-9
        if not said.get("do_resize", True) or not scaled or (normalised and not (mean and std)):
            return None
        found: dict[str, Any] = {"mean": mean, "std": std} if normalised else {}
        found["resample"] = _RESAMPLE.get(int(said.get("resample", Image.Resampling.BICUBIC)))
        if said.get("do_center_crop") and "shortest_edge" in size and "height" in crop:
            found |= {"size": (crop["height"], crop["width"]), "fit": "crop", "resize": size["shortest_edge"]}
        elif "height" in size and not said.get("do_center_crop"):
            found["size"] = (size["height"], size["width"])
        return cls(**found) if found["resample"] and "size" in found else None

    def prepare(self, image: Image.Image) -> Bytes:
        """Resize or crop an RGB picture to what the model sees, (height, width, 3)."""
        height, width = self.shape
        return resize(image, (width, height), self.resample, self._box(image))

    def scaled(self, pictures: Sequence[Bytes]) -> FloatArray:
        """Scale prepared pictures to the model's numbers, in its layout with the batch axis first."""
        factor = 1 / (255 * np.array(self.std))
        shift = np.array(self.mean) / np.array(self.std)
        values = np.stack(pictures).astype(np.float32)  # (n, h, w, 3)
        values *= factor.astype(np.float32)
        values -= shift.astype(np.float32)
        return np.ascontiguousarray(self.laid_out(values))

    def laid_out(self, values: NDArray[Any]) -> NDArray[Any]:
        """Bring (n, h, w, 3) in RGB to the model's order of axes and channels."""
        if self.channels == "bgr":
            values = values[..., ::-1]
        return values.transpose(0, 3, 1, 2) if self.layout == "nchw" else values

    def _box(self, image: Image.Image) -> Box | None:
        """The part of the picture that is seen: what a resize of the shorter side and a centre crop would leave.

        Both are rounded to whole pixels as transformers and torchvision do: a shift of half a pixel shows in a vector.
        """
        if self.fit == "squash":
            return None
        height, width = self.shape
        shorter, target = min(image.size), self.resize or max(height, width)
        resized = [target * side // shorter for side in image.size]
        scales = [side / then for side, then in zip(image.size, resized)]
        box = [0.0] * 4
        for axis, wanted in enumerate((width, height)):
            seen = min(wanted, resized[axis])
            start = (resized[axis] - seen) // 2
            box[axis], box[axis + 2] = start * scales[axis], min((start + seen) * scales[axis], image.size[axis])
        return box[0], box[1], box[2], box[3]
