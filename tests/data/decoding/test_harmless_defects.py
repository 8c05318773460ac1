"""Files that are complete but for a formality are read; a file that lacks pixels is refused."""

import random
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, features

from lmm_classifier.core.errors import CorruptImageError, ImageError
from lmm_classifier.data.images import accepted_formats, decode
from lmm_classifier.data.synthetic.catalog import draw
from tests.helpers.icc_profiles import rgb_profile

FILES = {
    "JPEG": {},
    "JPEG progressive": {"progressive": True},
    "JPEG with restarts": {"restart_marker_rows": 1},
    "PNG": {},
    "WEBP": {},
    "WEBP lossless": {"lossless": True},
    "GIF": {},
    "BMP": {},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
    **({"AVIF": {}} if features.check("avif") else {}),
    "HEIF": {},
}
ENDS = {"JPEG": 2, "PNG": 12, "GIF": 1}  # bytes that only say that the file ends


@pytest.fixture(scope="module")
def image():
    return draw("tartan", np.random.default_rng(0), 96).resize((51, 45))


def file_of(image, kind="PNG", **options):
    stream = BytesIO()
    image.save(stream, kind.partition(" ")[0], **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", FILES)
def test_a_cut_file_is_refused_or_gives_the_same_pixels(image, kind):
    """Wherever a file is cut, no pixel is invented; what only marks the end may be missing."""
    if kind == "HEIF" and "HEIF" not in accepted_formats():
        pytest.skip("pillow-heif is not installed")
    data = file_of(image, kind, **FILES[kind])
    whole = decode(data)
    end = ENDS.get(kind.partition(" ")[0], 0)
    cuts = {*range(1, end + 12), *random.Random(0).sample(range(end + 12, len(data)), 12)}
    for cut in sorted(cuts):
        try:
            decoded = decode(data[:-cut])
        except ImageError:
            assert cut > end
            continue
        assert cut <= end + 11, "pixels are missing"
        np.testing.assert_array_equal(decoded, whole)


@pytest.mark.parametrize("kind", FILES)
def test_bytes_after_the_end_change_nothing(image, kind):
    """Zeros, text or another image after the end are not read."""
    if kind == "HEIF" and "HEIF" not in accepted_formats():
        pytest.skip("pillow-heif is not installed")
    data = file_of(image, kind, **FILES[kind])
    for more in (bytes(100), b"<!-- added by a server -->", file_of(image.rotate(90), "JPEG")):
        np.testing.assert_array_equal(decode(data + more), decode(data))


def test_a_jpeg_without_its_end_is_read_reduced_and_turned_as_the_whole_one(image):
    """The rules for complete files hold."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = file_of(image.resize((1600, 1552)), "JPEG", exif=exif, icc_profile=rgb_profile("prophoto"))
    reduced = decode(data, min_side=64)
    assert reduced.size == (194, 200)
    for cut in (1, 2):
        np.testing.assert_array_equal(decode(data[:-cut], min_side=64), reduced)
    with pytest.raises(CorruptImageError, match="truncated"):
        decode(data[:-3], min_side=64)


@pytest.mark.parametrize("kind", ["JPEG", "JPEG progressive", "JPEG with restarts"])
def test_zeros_in_place_of_the_rest_of_a_jpeg(image, kind):
    """A file system may give zeros for what was never written: only if all pixels were, the file is read."""
    data = file_of(image, kind, **FILES[kind])
    for cut in (1, 2):
        np.testing.assert_array_equal(decode(data[:-cut] + bytes(500)), decode(data))
    for cut in (3, 4, 40, len(data) // 3):
        with pytest.raises(CorruptImageError, match="truncated"):
            decode(data[:-cut] + bytes(500))


def test_marks_of_another_scan_after_the_end(image):
    """What follows the end is not taken for a part of the file."""
    data = file_of(image, "JPEG")
    np.testing.assert_array_equal(decode(data + b"\xff\xda\0\0more"), decode(data))


def test_the_last_padding_byte_of_a_webp(image):
    """A chunk of odd size needs a byte after it. Without it the file is read, but a byte of pixels is not replaced."""
    results = set()
    for number in range(12):
        data = file_of(image.rotate(number * 10), "WEBP", lossless=True)
        odd = struct.unpack_from("<I", data, 16)[0] % 2 == 1
        results.add(odd)
        if odd:
            np.testing.assert_array_equal(decode(data[:-1]), decode(data))
        else:
            with pytest.raises(CorruptImageError):
                decode(data[:-1])
    assert results == {True, False}


def with_chunk(data, name, body, crc=None):
    """Return a PNG with one more chunk after its header."""
    crc = zlib.crc32(name + body) if crc is None else crc
    return data[:33] + struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc) + data[33:]


def test_damaged_notes_in_a_png(image):
    """Wrong checksums, large and broken texts and profiles cost neither the file nor its pixels."""
    data = file_of(image)
    profile = b"p\0\0" + zlib.compress(rgb_profile("prophoto"))
    notes = [(b"tEXt", b"a\0b", 1), (b"iCCP", profile, 1), (b"pHYs", b"", None), (b"gAMA", b"1", None)]
    notes += [(b"zTXt", b"a\0\0" + zlib.compress(bytes(3 << 20)), None), (b"iCCP", b"p\0\1x", None), (b"eXIf", b"", 1)]
    for note in notes:
        np.testing.assert_array_equal(decode(with_chunk(data, *note)), image)
    managed = decode(with_chunk(with_chunk(data, b"tEXt", b"a\0b", 1), b"iCCP", profile))
    assert np.abs(np.asarray(managed, float) - np.asarray(image)).mean() > 10, "a whole profile is still applied"


def test_damaged_pixels_in_a_png_are_refused(image):
    """What holds the pixels must be right to the last bit, whatever else is repaired."""
    data = bytearray(with_chunk(file_of(image), b"tEXt", b"a\0b", 1))
    place = data.index(b"IDAT") + 40
    data[place] ^= 4
    with pytest.raises(CorruptImageError):
        decode(bytes(data))
