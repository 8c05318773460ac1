"""Paths, bytes, arrays and Pillow images give the same pixels; everything else is refused by name."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import CorruptImageError, ImageError, ImageInputError, ImageTooLargeError
from lmm_classifier.data.image_inputs import check_input, check_inputs, path_of, read_input
from lmm_classifier.data.images import ImageLimits

LIMITS = ImageLimits()
RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def pixels(value):
    """Return the bytes (height, width, 3) that an input becomes."""
    check_input(value)
    image = read_input(value, LIMITS).image
    assert image.mode == "RGB"
    return np.asarray(image)


def png(array):
    """Return the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_kind_of_input_gives_the_same_pixels(tmp_path):
    """Text and paths, three kinds of bytes, an array, and a Pillow image."""
    data = png(RGB)
    path = tmp_path / "a.png"
    path.write_bytes(data)
    inputs = [path, str(path), data, bytearray(data), memoryview(data), RGB, Image.fromarray(RGB), Image.open(path)]
    for value in inputs:
        assert np.array_equal(pixels(value), RGB)
    assert [path_of(value) for value in inputs] == [str(path)] * 2 + [None] * 6
    hashes = {read_input(value, LIMITS).content_hash for value in inputs[:5]}
    assert len(hashes) == 1
    assert len(hashes.pop()) == 64
    assert {read_input(value, LIMITS).content_hash for value in (RGB, Image.fromarray(RGB))} == {""}


def test_a_path_in_the_home_folder(tmp_path, monkeypatch):
    """`~` is expanded as on the command line."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.png").write_bytes(png(RGB))
    assert np.array_equal(pixels("~/a.png"), RGB)


def test_shapes_of_arrays():
    """Gray with and without a third axis, RGB, and alpha on white."""
    gray = RGB[:, :, 0]
    assert np.array_equal(pixels(gray), np.repeat(gray[:, :, None], 3, axis=2))
    assert np.array_equal(pixels(gray[:, :, None]), pixels(gray))
    alpha = np.dstack([RGB, np.full(gray.shape, 255, np.uint8)])
    assert np.array_equal(pixels(alpha), RGB)
    alpha[:, :, 3] = 0
    assert (pixels(alpha) == 255).all()


def test_number_types_of_arrays():
    """The whole range of a type is the whole range from black to white."""
    for kind in (np.float16, np.float32, np.float64):
        assert np.array_equal(pixels((RGB / 255).astype(kind)), RGB)
    assert np.array_equal(pixels(RGB.astype(np.uint16) * 257), RGB)
    assert pixels(np.full((2, 2), 65535, np.uint16)).min() == 255
    assert pixels(np.full((2, 2), 1.0)).min() == 255
    assert pixels(np.full((2, 2), 0.5)).max() == 128
    assert np.array_equal(pixels((RGB.astype(np.uint16) * 257).astype(">u2")), RGB)


def test_the_layout_of_an_array_in_memory_changes_nothing():
    """Views, reversed and read-only arrays; the array itself is never changed."""
    reversed_view, transposed = RGB[::-1, ::2], RGB.transpose(1, 0, 2)
    fortran, frozen = np.asfortranarray(RGB), RGB.copy()
    frozen.setflags(write=False)
    before = RGB.copy()
    for array in (reversed_view, transposed, fortran, frozen):
        assert np.array_equal(pixels(array), array)
    assert np.array_equal(before, RGB)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "got NoneType"),
        (7, "got int"),
        ([RGB], "got list. For several images use `classify_many`"),
        (io.BytesIO(b""), "Give the bytes that its `read()` returns"),
        (type("Tensor", (), {"numpy": None})(), "got Tensor. Make a NumPy array of it"),
        (RGB[None], r"one image, got an array of shape (1, 5, 7, 3)"),
        (RGB.transpose(2, 0, 1), "shape (3, 5, 7) with channels first. Use `array.transpose(1, 2, 0)`"),
        (np.zeros((4, 5, 2), np.uint8), "got shape (4, 5, 2)"),
        (np.zeros(9, np.uint8), "got shape (9,)"),
        (np.zeros((), np.uint8), "got shape ()"),
        (np.zeros((4, 5, 0), np.uint8), "got shape (4, 5, 0)"),
        (np.zeros((4, 5), np.int64), "got int64. Convert it"),
        (np.zeros((4, 5), np.int8), "got int8"),
        (np.zeros((4, 5), bool), "got bool"),
        (np.zeros((4, 5), complex), "got complex128"),
        (np.zeros((4, 5), object), "got object"),
        (np.ma.masked_array(RGB, RGB > 9), "without a mask"),
    ],
)
def test_what_cannot_be_an_image_is_a_type_error_of_ours(value, message):
    """It says what came, what is accepted and what to do."""
    with pytest.raises(ImageInputError) as caught:
        check_input(value)
    assert message in str(caught.value)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((0, 0), np.uint8), "no pixels (0 x 0)"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels (5 x 0)"),
        (np.zeros((5, 0), np.float32), "no pixels (0 x 5)"),
        (Image.new("RGB", (0, 0)), "no pixels (0 x 0)"),
        (Image.new("L", (0, 4)), "no pixels (0 x 4)"),
        (np.full((2, 2), 255.0), "from 255 to 255, expected 0 to 1; divide values up to 255 by 255"),
        (np.full((2, 2), -0.1), "from -0.1 to -0.1"),
        (np.full((2, 2), np.nan), "expected 0 to 1"),
        (np.array([[0, np.inf]]), "from 0 to inf"),
        (b"", "the file is empty"),
        (b"no image", "not an image"),
        (png(RGB)[:60], "damaged"),
        (os.devnull, "not a regular file"),
        ("no/such.png", "no such file"),
        ("", "not a regular file"),
        ("a\0b", "null"),
        ("https://example.org/a.png", "no such file"),
    ],
)
def test_an_image_without_usable_content_is_an_image_error(value, message):
    """Files, bytes, arrays and Pillow images alike."""
    check_input(value)
    with pytest.raises(ImageError) as caught:
        read_input(value, LIMITS)
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_pillow_image_that_cannot_be_loaded_is_an_image_error(tmp_path):
    """Pillow reads a file only when its pixels are needed; it may be damaged or closed by then."""
    (tmp_path / "a.png").write_bytes(png(np.zeros((90, 90, 3), np.uint8) + RGB[0, 0])[:-30])
    closed = Image.fromarray(RGB)
    closed.close()
    for image in (Image.open(tmp_path / "a.png"), closed):
        with image, pytest.raises(CorruptImageError, match="damaged image"):
            read_input(image, LIMITS)


def test_limits_hold_for_every_kind_of_input():
    """Pixels of arrays and Pillow images, bytes of data."""
    limits = ImageLimits(max_pixels=20, max_bytes=30)
    for value in (RGB, Image.fromarray(RGB), png(RGB)):
        with pytest.raises(ImageTooLargeError):
            read_input(value, limits)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("photo.jpg", "got one str. Put it in a list"),
        (b"data", "got one bytes"),
        (Image.new("L", (2, 2)), "got one Image"),
        (RGB, r"an array of shape (5, 7, 3)"),
        (5, "got int"),
        ([RGB, 5], "got int"),
    ],
)
def test_one_image_where_several_are_expected(value, message):
    """A text is not taken for the list of its letters, nor an image for the list of its rows."""
    with pytest.raises(ImageInputError) as caught:
        check_inputs(value)
    assert message in str(caught.value)


def test_several_images_may_be_one_array_or_any_iterable():
    """Each is checked before any is used."""
    assert len(check_inputs(np.stack([RGB, RGB]))) == 2
    assert len(check_inputs(iter([RGB, "a.png"]))) == 2
    assert check_inputs([]) == []
