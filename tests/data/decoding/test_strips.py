"""Strips cover an image once, and converting by strips changes nothing."""

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.data.decoding.strips import convert_by_strips, rows_of_strips


@pytest.mark.parametrize("size", [(1, 1), (3, 7), (1000, 3001), (2_000_000, 3), (1, 3_000_000)])
def test_each_row_is_in_one_strip(size):
    """Strips follow each other, and have about a million pixels."""
    strips = list(rows_of_strips(*size))
    assert [row for strip in strips for row in (strip.start, strip.stop)] == sorted(
        [0, *(strip.start for strip in strips[1:]), *(strip.stop for strip in strips)]
    )
    assert strips[-1].stop == size[1]
    assert all(len(strip) == 1 or len(strip) * size[0] <= 1 << 20 for strip in strips)


def test_strips_give_the_image_of_the_whole():
    """A conversion pixel by pixel gives the same by strips."""
    values = np.random.default_rng(0).integers(0, 255, (1500, 1000, 4), np.uint8)
    image = Image.fromarray(values)
    assert convert_by_strips(image, lambda part: part.convert("RGB")).tobytes() == image.convert("RGB").tobytes()
