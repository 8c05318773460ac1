"""Work on some rows of an image at a time, so that what is computed in between needs little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PIL import Image

_PIXELS = 1 << 20  # of one strip


def rows_of_strips(width: int, height: int) -> Iterator[range]:
    """Yield the rows of each strip, from top to bottom; a strip has about a million pixels, at least one row."""
    step = max(_PIXELS // width, 1)
    for top in range(0, height, step):
        yield range(top, min(top + step, height))


def convert_by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Return an RGB image of the same size from strips that `convert` turns to RGB; it must work pixel by pixel."""
    strips = list(rows_of_strips(*image.size))
    if len(strips) == 1:
        return convert(image)
    result = Image.new("RGB", image.size)
    for rows in strips:
        result.paste(convert(image.crop((0, rows.start, image.width, rows.stop))), (0, rows.start))
    return result
