"""How many visual tokens a picture may cost: everything is resized by us, to whole tokens, before any model sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from PIL.Image import Image, Resampling

from lmm_classifier.rerank.prompts import Ballot

TOKEN_SIDE = 28  # pixels of one visual token of Qwen2-VL: 2 x 2 patches of 14
_MAX_ASPECT = 100  # a longer side is squeezed to this ratio; Qwen2-VL accepts up to 200


@dataclass(frozen=True, slots=True)
class PictureBudget:
    """Visual tokens of `side` x `side` pixels: least and most per picture, most per request."""

    least: int = 64
    most: int = 1024
    most_per_request: int = 4096
    side: int = TOKEN_SIDE

    def fit(self, ballot: Ballot) -> Ballot:
        """Resize the pictures of a ballot so that each and all of them keep to the budget."""
        pictures = sum(not isinstance(part, str) for part in ballot.parts)
        most = max(1, min(self.most, self.most_per_request // max(1, pictures)))
        parts = tuple(part if isinstance(part, str) else self._resized(part, most) for part in ballot.parts)
        return replace(ballot, parts=parts)

    def _resized(self, image: Image, most: int) -> Image:
        across, down = visual_grid(image.width, image.height, self.side, min(self.least, most), most)
        size = (across * self.side, down * self.side)
        return image if image.size == size else image.resize(size, Resampling.BICUBIC)


def visual_grid(width: int, height: int, side: int, least: int, most: int) -> tuple[int, int]:
    """Choose how many visual tokens across and down: the aspect kept, `least` <= product <= `most` where possible.

    Pictures are resized to whole tokens by us, since the processor's own limits round unsafely when they meet.
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
