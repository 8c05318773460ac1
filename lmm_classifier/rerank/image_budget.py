"""The visual token budget: images are resized to whole visual tokens before a model gets them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from PIL.Image import Image, Resampling

from lmm_classifier.rerank.prompts import PromptVariant

TOKEN_SIDE = 28  # pixels a side of one visual token of Qwen2-VL and Qwen2.5-VL: 2 x 2 patches of 14
_MAX_ASPECT = 100  # a longer image is squeezed to this aspect ratio; Qwen2-VL accepts up to 200


@dataclass(frozen=True, slots=True)
class VisualTokenBudget:
    """Limits on the number of visual tokens."""

    least: int = 64
    """Least per image."""
    most: int = 1024
    """Most per image."""
    most_per_request: int = 4096
    """Most of all images of a request together."""
    side: int = TOKEN_SIDE
    """Pixels a side of one visual token."""
    whole: bool = True
    """Whether the model takes an image of any size as whole visual tokens. If not, its processor makes tiles of a fixed
    size: a large image is only reduced to `most` tokens' pixels, and a small one stays as it is."""

    def fit(self, prompt: PromptVariant) -> PromptVariant:
        """Resize the images of a prompt so that each one, and all together, stay within the budget."""
        images = sum(not isinstance(part, str) for part in prompt.parts)
        most = max(1, min(self.most, self.most_per_request // max(1, images)))
        parts = tuple(part if isinstance(part, str) else self._resized(part, most) for part in prompt.parts)
        return replace(prompt, parts=parts)

    def _resized(self, image: Image, most: int) -> Image:
        if self.whole:
            across, down = visual_grid(image.width, image.height, self.side, min(self.least, most), most)
            size = (across * self.side, down * self.side)
        else:
            size = _reduced(image.width, image.height, most * self.side**2)
        return image if image.size == size else image.resize(size, Resampling.BICUBIC)


def visual_grid(width: int, height: int, side: int, least: int, most: int) -> tuple[int, int]:
    """Return the number of visual tokens across and down, whose product is `least` to `most` where possible.

    The aspect ratio is preserved. The processor's own resizing is not used: its limits round unsafely when they meet.
    """
    aspect = min(max(width / height, 1 / _MAX_ASPECT), _MAX_ASPECT)
    tokens = min(max(width * height / side**2, least), most)
    across = max(1, round(math.sqrt(tokens * aspect)))
    down = max(1, round(math.sqrt(tokens / aspect)))
    while across * down > most:
        if across >= down:
            across -= 1
        else:
            down -= 1
    while across * down < least and (across + 1) * down <= most:
        across += 1
    return across, down


def _reduced(width: int, height: int, most: int) -> tuple[int, int]:
    """Return the size of at most about `most` pixels, with an aspect ratio that no processor refuses."""
    width, height = min(width, height * _MAX_ASPECT), min(height, width * _MAX_ASPECT)
    scale = min(1.0, math.sqrt(most / (width * height)))
    return max(1, round(width * scale)), max(1, round(height * scale))
