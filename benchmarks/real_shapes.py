"""Checkpoints of the real shapes with random weights. Speed does not depend on the values; nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Shape:
    """The vision tower of a SigLIP model."""

    name: str
    side: int
    patch: int
    width: int
    mlp: int
    layers: int
    heads: int

    @property
    def tokens(self) -> int:
        """Return the number of patches of an image."""
        return (self.side // self.patch) ** 2

    @property
    def flops(self) -> float:
        """Return the floating point operations of one image: two per multiplication of the matrix products."""
        n, d, m = self.tokens, self.width, self.mlp
        layer = 2 * (4 * n * d * d + 2 * n * d * m) + 4 * n * n * d
        patches = 2 * n * 3 * self.patch**2 * d
        head = 2 * (2 * n * d * d + 2 * d * d + 2 * d * m) + 4 * n * d  # attention of one query over all patches
        return float(self.layers * layer + patches + head)

    def config(self) -> Any:
        """Return the configuration for transformers."""
        from transformers import SiglipVisionConfig

        return SiglipVisionConfig(
            image_size=self.side,
            patch_size=self.patch,
            hidden_size=self.width,
            intermediate_size=self.mlp,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
        )

    def save(self, folder: Path) -> Path:
        """Write a checkpoint with random weights and the image processor of the original."""
        import torch
        from transformers import SiglipImageProcessorPil, SiglipVisionModel

        torch.manual_seed(0)
        SiglipVisionModel(self.config()).save_pretrained(folder)
        SiglipImageProcessorPil(size={"height": self.side, "width": self.side}).save_pretrained(folder)
        return folder


BASE = Shape("base/16@224", 224, 16, 768, 3072, 12, 12)
SO400M = Shape("so400m/14@384", 384, 14, 1152, 4304, 27, 16)


def photographs(folder: Path, count: int, size: tuple[int, int], labels: int = 4) -> list[Path]:
    """Write different JPEGs of `size` (width, height) with the spectrum of photographs.

    They are blurred noise at every scale, which a decoder reads as slowly as a photograph.
    """
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        image = np.zeros((size[1], size[0], 3), np.float32)
        for grain in (4, 16, 64, 256):
            coarse = rng.integers(0, 256, (max(size[1] // grain, 2), max(size[0] // grain, 2), 3), dtype=np.uint8)
            large = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
            image += np.asarray(large, np.float32) * (grain**0.5 / 30)
        path = folder / f"label{number % labels}" / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = 255 * (image - image.min()) / np.ptp(image)
        Image.fromarray(values.astype(np.uint8)).save(path, quality=90)
        paths.append(path)
    return sorted(paths)
