"""A file is an image by its ending, and where that says nothing, by its first bytes."""

import io
import os

import pytest
from PIL import Image

from lmm_classifier.data.image_types import EXTENSIONS, UNSUPPORTED, extension, has_image_content, is_image_head
from lmm_classifier.data.images import accepted_formats, decode


@pytest.mark.parametrize("name", [name for name in accepted_formats() if name != "HEIF"])
def test_every_format_that_is_decoded_is_recognized(name):
    """By as few bytes as are read."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(data, name)
    assert is_image_head(data.getvalue()[:18])
    assert decode(data.getvalue()).size == (8, 8)


@pytest.mark.parametrize(
    "data",
    [b"", b"BMW is a car, and so on, and so on", b"RIFF1234WAVEfmt ", b"PK\x03\x04", b"\0\0\0\x18ftypmp42", b"GIF"],
)
def test_other_content_is_not(data):
    """Two letters of a text are no image."""
    assert not is_image_head(data)


def test_a_pipe_is_not_read(tmp_path):
    """It would wait for a writer for ever."""
    os.mkfifo(tmp_path / "pipe")
    assert not has_image_content(tmp_path / "pipe")


def test_endings():
    """In lower case; a name without a dot has none."""
    assert [extension(name) for name in ("a.JPG", "jpg", "a.b.Png", "x.")] == ["jpg", "", "png", ""]
    assert not EXTENSIONS & UNSUPPORTED
