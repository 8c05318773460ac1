"""Images of an export: their bytes are those that were classified, and their URLs lead to them."""

import io
from pathlib import Path
from urllib.parse import unquote

import pytest
from PIL import Image

from lmm_classifier.core.errors import OutputError
from lmm_classifier.core.files import content_hash
from lmm_classifier.data.limits import ImageLimits
from lmm_classifier.data.readers.crops import Box, CropRoot, crop_id
from lmm_classifier.integrations.exports.image_access import LOCAL_FILES, ImageUrls, image_bytes, reason_of


def test_bytes_of_the_same_file_only(tmp_path):
    """A file that changed, is too large or is missing has none, and the reason says so."""
    file = tmp_path / "a.png"
    file.write_bytes(b"pixels")
    digest = content_hash(file)
    assert image_bytes(file, digest, ImageLimits(max_bytes=6)) == b"pixels"
    with pytest.raises(OSError, match="at most 5 are read"):
        image_bytes(file, digest, ImageLimits(max_bytes=5))
    file.write_bytes(b"others")
    with pytest.raises(OSError, match="has changed since"):
        image_bytes(file, digest)
    assert image_bytes(file, None) == b"others"
    with pytest.raises(OSError) as missing:
        image_bytes(tmp_path / "none.png", digest)
    assert reason_of(missing.value) == "no such file or directory"


def test_the_bytes_of_a_part_are_a_png(tmp_path):
    """Its size is that of the box, not that of the image."""
    Image.new("RGB", (20, 20)).save(tmp_path / "a.jpg")
    data = image_bytes(CropRoot(tmp_path) / crop_id("a.jpg", Box(0, 0, 8, 6)), None)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("PNG", (8, 6))


def test_a_part_of_an_image_has_no_url(tmp_path):
    """With a prefix neither: the address would be that of nothing."""
    part = CropRoot(tmp_path) / crop_id("a.png", Box(0, 0, 8, 8))
    for urls in (ImageUrls(), ImageUrls("https://example.org/")):
        with pytest.raises(OutputError, match="is a part of an image"):
            urls.url(part, "a.png#0,0,8,8")


def test_urls(tmp_path):
    """A prefix and the quoted name; without a prefix the file, as Label Studio serves it."""
    urls = ImageUrls("https://example.org/")
    assert urls.url(Path("a"), "./a b/ü#1?.png") == "https://example.org/a%20b/%C3%BC%231%3F.png"
    assert urls.url(Path("a"), "/data/a.png") == "https://example.org/data/a.png"
    url = ImageUrls().url(tmp_path / "a b.png", "a b.png")
    assert url.startswith(LOCAL_FILES)
    assert "/" + unquote(url.removeprefix(LOCAL_FILES)) == str(tmp_path / "a b.png")
