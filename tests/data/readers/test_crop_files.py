"""Parts of images as files: their pixels, their names, and images that changed."""

import io

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.data.images import read_image
from lmm_classifier.data.readers.crop_files import crop_file_name, crop_png
from lmm_classifier.data.readers.crops import Box, CropRoot, crop_id


@pytest.fixture
def part(tmp_path):
    """A box of an image that its EXIF orientation turns."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    return CropRoot(tmp_path) / crop_id("a.png", Box(2, 3, 12, 33))


def test_the_pixels_are_those_that_were_classified(part):
    """Once more read as a file, they are the same: upright, and not turned again."""
    expected = read_image(part)
    data = crop_png(part, expected.content_hash)
    assert data == crop_png(part, None)
    with Image.open(io.BytesIO(data)) as image:
        assert (np.asarray(image) == np.asarray(expected.image)).all()
    assert crop_file_name(part) == "a-2-3-12-33.png"


def test_an_image_that_changed_or_is_gone(part, tmp_path):
    """It is not written, and the reason says why."""
    content_hash = read_image(part).content_hash
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    with pytest.raises(OSError, match="has changed since"):
        crop_png(part, content_hash)
    (tmp_path / "a.png").unlink()
    with pytest.raises(OSError, match="no such file"):
        crop_png(part, content_hash)
