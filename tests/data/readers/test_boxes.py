"""Boxes of any file: sizes that it tells, other units, images that are not there."""

import pytest
from PIL import Image

from lmm_classifier.core.errors import DatasetError, ImageSizeError
from lmm_classifier.data.images import read_image
from lmm_classifier.data.readers.boxes import Annotation, Boxes


@pytest.fixture
def boxes(tmp_path):
    """Boxes of one image, whose file tells its size."""
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    boxes = Boxes(tmp_path, "the categories")
    boxes.set_size("a.png", 64, 48)
    return boxes


def listing(boxes, *numbers):
    for number, box in enumerate(numbers):
        boxes.add(Annotation(f"annotation {number}", "a.png", box))
    return boxes.finished("x.json")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ((32, 24), "says 32 x 24, the image is 64 x 48: resized"),
        ((48, 64), "says 48 x 64, the image is 64 x 48: turned by its EXIF orientation"),
        ((64, 48), ""),
        ((64.0, 48.0), ""),
        ((None, 24), ""),
        (("32", "24"), ""),
        ((0, 0), ""),
        ((float("nan"), 24), ""),
    ],
)
def test_an_image_of_another_size_than_its_file_says(told, reason, boxes):
    """Its boxes would cut out anything. Where no size is told, nothing is compared."""
    boxes.__init__(boxes.images, "the categories")
    boxes.set_size("./a.png", *told)
    found = listing(boxes, [1, 2, 3, 4])
    place = found.root / found.rows[0].path
    if not reason:
        assert read_image(place).image.size == (3, 4)
        return
    with pytest.raises(ImageSizeError, match=reason) as caught:
        read_image(place)
    assert not caught.value.proven


def test_boxes_in_other_units_are_told(boxes, tmp_path):
    """Fractions, and corners in the place of sizes; a few boxes that reach a little too far are none of that."""
    assert listing(boxes, [0, 0, 64, 48.9], [9, 9, 9, 9]).warnings == []
    corners = listing(boxes, [40, 30, 60, 40], [30, 20, 50, 40])
    assert ["x1, y1, x2, y2" in warning for warning in corners.warnings] == [True]
    fractions = Boxes(tmp_path, "the categories")
    assert "are they fractions" in listing(fractions, [0.2, 0.1, 0.5, 0.9], [0.1, 0.1, 0.2, 0.2]).warnings[0]


def test_images_that_are_not_there(tmp_path):
    """All of them missing is a wrong folder; some of them are told later, one by one."""
    empty = Boxes(tmp_path, "the categories")
    with pytest.raises(DatasetError, match=f"{tmp_path} holds none of the 1 images that x.json names, such as a.png"):
        listing(empty, [1, 2, 3, 4])
