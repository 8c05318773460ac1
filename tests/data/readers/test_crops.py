"""Parts of images: pixels, hashes, boxes beyond the border, threads."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import ImageError
from lmm_classifier.data.images import decode, read_if_new, read_image
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.readers.crops import Box, Crop, CropRoot, crop_id


@pytest.fixture
def root(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a#1.png")
    return CropRoot(tmp_path), pixels


def test_the_pixels_are_those_of_the_box(root):
    """A box beyond the border is cut at it; ids may have `#` in the name of the file."""
    crops, pixels = root
    for box in (Box(3, 5, 20, 30), Box(-5, -5, 10, 10), Box(50, 30, 99, 99)):
        image = np.asarray(read_image(crops / crop_id("a#1.png", box)).image)
        left, top, right, bottom = box
        assert (image == pixels[max(top, 0) : bottom, max(left, 0) : right]).all()
    assert read_image(crops / "a#1.png").image.size == (60, 40)


def test_each_box_is_a_content_of_its_own(root):
    """The hash is of bytes and box, and a known one is not decoded."""
    crops, _ = root
    places = [crops / crop_id("a#1.png", Box(0, 0, side, side)) for side in (3, 4)]
    hashes = [read_image(place).content_hash for place in places]
    assert len({*hashes, read_image(crops / "a#1.png").content_hash}) == 3
    assert read_if_new(places[0], ImageLimits(), pytest.fail, {hashes[0]}).content_hash == hashes[0]


def test_a_box_without_a_pixel_is_an_error_of_its_image(root):
    """It is proven by the bytes, and named."""
    with pytest.raises(ImageError, match="no pixel of the image") as caught:
        read_image(root[0] / "a#1.png#60,0,70,10")
    assert caught.value.proven
    assert caught.value.content_hash is not None


def test_threads_decode_an_image_once(root):
    """Threads that read boxes of one image wait for the first of them."""
    crops, _ = root
    decoded = []
    places = [crops / crop_id("a#1.png", Box(n, 0, n + 5, 5)) for n in range(40)]
    assert all(isinstance(place, Crop) for place in places)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda p: p.cut(p.read_bytes(), lambda data: decoded.append(1) or decode(data)), places))
    assert len(decoded) == 1


def test_an_image_in_use_is_found_however_many_are(tmp_path):
    """While a thread decodes one, others may come and go; another box of it still waits for that thread."""
    names = ["a", "b", "c", "d"]
    for name in names:
        Image.new("RGB", (9, 9)).save(tmp_path / f"{name}.png")
    crops = CropRoot(tmp_path)
    places = {name: crops / crop_id(f"{name}.png", Box(0, 0, 5, 5)) for name in names}

    def decode_with_others(data):
        for name in "bcd":
            places[name].cut(places[name].read_bytes(), decode)
        gc.collect()
        assert {key[0].rpartition("/")[2] for key in crops._used} == {"a.png", "c.png", "d.png"}
        return decode(data)

    places["a"].cut(places["a"].read_bytes(), decode_with_others)
    gc.collect()
    assert len(crops._used) == 2
