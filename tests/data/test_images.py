"""Files become upright RGB pixels by fixed rules, or raise a typed error."""

import hashlib
import os
import struct
import subprocess
import sys
import tarfile
import threading
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from lmm_classifier.core.errors import (
    CorruptImageError,
    ImageError,
    ImageTooLargeError,
    UnreadableImageError,
    UnsupportedImageError,
)
from lmm_classifier.data.images import (
    DecodedImage,
    ImageLimits,
    accepted_formats,
    decode,
    read_image,
    read_images,
    upright_rgb,
)
from lmm_classifier.data.synthetic.catalog import draw

ORIENTATION = 0x0112
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else [])]


@pytest.fixture(scope="module")
def image():
    return draw("tartan", np.random.default_rng(0), 96).resize((96, 64))


def encoded(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def difference(first, second):
    return np.abs(np.asarray(first, float) - np.asarray(second, float))


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(image, kind):
    """Each accepted format is decoded by its bytes alone."""
    decoded = decode(encoded(image, kind))
    assert (decoded.mode, decoded.size) == ("RGB", (96, 64))
    assert difference(decoded, image).mean() < (20 if kind == "GIF" else 8)


def test_heif_where_its_plugin_is_installed(image):
    """HEIC is decoded if Pillow has its plug-in; otherwise the error names the accepted formats."""
    if "HEIF" not in accepted_formats():
        with pytest.raises(UnsupportedImageError, match="accepted format"):
            decode(b"\0\0\0\x18ftypheic" + bytes(100))
        return
    assert difference(decode(encoded(image, "HEIF", quality=90)), image).mean() < 8


def test_hash_and_pixels_come_from_the_same_bytes(image, tmp_path):
    """The content hash is the SHA-256 of the decoded file."""
    (tmp_path / "x.jpg").write_bytes(encoded(image))
    decoded = read_image(tmp_path / "x.jpg")
    assert decoded.content_hash == hashlib.sha256(encoded(image)).hexdigest()
    np.testing.assert_array_equal(np.asarray(decoded.image), np.asarray(image))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(image, kind, orientation):
    """All eight orientations give the upright image."""
    inverse = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = image if inverse is None else image.transpose(inverse)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    decoded = decode(encoded(stored, kind, exif=exif, **options))
    assert decoded.size == image.size
    assert difference(decoded, image).max() <= (12 if kind == "JPEG" else 1)
    assert upright_rgb(decoded).size == image.size, "an upright image is not turned again"


def test_an_image_with_broken_exif_is_decoded(image):
    """Broken metadata is no reason to refuse an image."""
    for exif in (b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"):
        assert decode(encoded(image, "JPEG", exif=exif)).size == image.size


def test_transparent_pixels_become_white():
    """Half-transparent pixels are mixed with white; alpha, palette and color key are treated alike."""
    rgba = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    rgba.paste((200, 0, 0, 128), (0, 0, 2, 4))
    decoded = np.asarray(decode(encoded(rgba)))
    np.testing.assert_array_equal(decoded[0, 3], (255, 255, 255))
    assert np.abs(decoded[0, 0].astype(int) - (227, 127, 127)).max() <= 1
    assert decode(encoded(Image.new("LA", (3, 3), (10, 0)))).getpixel((1, 1)) == (255, 255, 255)
    palette = Image.new("P", (3, 3), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert decode(encoded(palette, transparency=1)).getpixel((1, 1)) == (255, 255, 255)
    assert decode(encoded(palette)).getpixel((1, 1)) == (9, 9, 9)
    assert decode(encoded(Image.new("RGB", (3, 3), (1, 2, 3)), transparency=(1, 2, 3))).getpixel((0, 0)) == (255,) * 3


def test_cmyk_and_other_color_spaces(image):
    """CMYK, YCbCr, LAB, HSV, one bit and gray are converted to RGB."""
    assert difference(decode(encoded(image.convert("CMYK"), "JPEG", quality=95)), image).mean() < 5
    assert difference(decode(encoded(image.convert("CMYK"), "TIFF")), image).mean() < 2
    assert difference(upright_rgb(image.convert("HSV")), image).mean() < 4
    assert difference(upright_rgb(image.convert("YCbCr")), image).mean() < 3
    assert upright_rgb(Image.new("LAB", (2, 2), (255, 128, 128))).getpixel((0, 0))[0] > 240
    gray = image.convert("L")
    np.testing.assert_array_equal(np.asarray(decode(encoded(gray)))[..., 1], np.asarray(gray))
    assert set(np.unique(np.asarray(decode(encoded(image.convert("1")))))) <= {0, 255}


def test_sixteen_bits_are_scaled_not_clipped(image):
    """A 16-bit gray image gives the pixels of the same image in 8 bits."""
    gray = np.asarray(image.convert("L"))
    wide = Image.fromarray(gray.astype(np.uint16) * 257)
    for kind in ("PNG", "TIFF"):
        decoded = np.asarray(decode(encoded(wide, kind)), float)[..., 0]
        assert np.abs(decoded - gray).max() <= 1
        cosine = (decoded * gray).sum() / np.sqrt((decoded**2).sum() * (gray.astype(float) ** 2).sum())
        assert cosine >= 0.999
    whole = Image.fromarray(gray.astype(np.int32) * 257)
    assert np.abs(np.asarray(upright_rgb(whole), float)[..., 0] - gray).max() <= 1


def test_fractions_and_other_ranges():
    """0 to 1 becomes 0 to 255; another range is stretched from its own ends; infinite values are refused."""
    ramp = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    expected = np.rint(ramp * 255)
    for values in (ramp, ramp * 1000 - 500, (ramp * 1e6).astype(np.int32)):
        decoded = np.asarray(upright_rgb(Image.fromarray(values)))[..., 0]
        assert np.abs(decoded - expected).max() <= 1
    assert upright_rgb(Image.fromarray(np.full((2, 2), 7.0, np.float32))).getpixel((0, 0)) == (0, 0, 0)
    with pytest.raises(CorruptImageError, match="not finite"):
        upright_rgb(Image.fromarray(np.array([[np.nan, 1]], np.float32)))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_counts(kind):
    """Of an animation or of several pages the first is decoded."""
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    decoded = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    red, green, blue = decoded.getpixel((4, 4))
    assert red > 240
    assert max(green, blue) < 15


def test_the_given_image_is_not_changed(image):
    """`upright_rgb` returns a copy."""
    before = image.tobytes()
    copy = upright_rgb(image)
    copy.paste((0, 0, 0), (0, 0, 9, 9))
    assert image.tobytes() == before


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", CorruptImageError),
        (b"hello", UnsupportedImageError),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedImageError),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", UnsupportedImageError),
        (b"\xff\xd8\xff\xe0", CorruptImageError),
        (b"\x89PNG\r\n\x1a\n", CorruptImageError),
        (encoded(Image.new("RGB", (9, 9)), "TGA"), UnsupportedImageError),
        (encoded(Image.new("RGB", (16, 16)), "ICO"), UnsupportedImageError),
        (encoded(Image.new("RGB", (9, 9)), "PPM"), UnsupportedImageError),
    ],
)
def test_files_that_are_no_image(data, kind):
    """Other formats are unsupported, and the error names the accepted ones; broken files are corrupt."""
    with pytest.raises(kind) as caught:
        decode(data)
    assert caught.value.kind in ("unsupported", "corrupt")
    if kind is UnsupportedImageError:
        assert "JPEG" in str(caught.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_files(image, kind):
    """A file that is cut at any 5% is refused, or decoded where only a trailer is missing."""
    data = encoded(image, kind)
    for percent in range(0, 100, 5):
        try:
            decode(data[: len(data) * percent // 100])
        except ImageError:
            continue
        assert percent >= 90, f"{kind} cut at {percent}% was decoded"


def bomb(width, height):
    """Return a PNG that declares a huge size and holds no pixels."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_too_many_pixels(image):
    """The limit is inclusive and checked in the header, at any size."""
    for width, height in ((8000, 8001), (10_000, 10_000), (60_000, 60_000)):
        with pytest.raises(ImageTooLargeError):
            decode(bomb(width, height))
    assert decode(encoded(image), ImageLimits(max_pixels=96 * 64)).size == (96, 64)
    with pytest.raises(ImageTooLargeError, match="96 x 64 pixels, at most 6,143"):
        decode(encoded(image), ImageLimits(max_pixels=96 * 64 - 1))


def test_files_that_cannot_be_read(tmp_path, image):
    """Missing files, folders, pipes and large files are refused without reading or waiting."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for name in ("missing.jpg", "", "pipe.jpg", "loop.jpg", "a\0b.jpg"):
        with pytest.raises(UnreadableImageError):
            read_image(tmp_path / name)
    (tmp_path / "x.png").write_bytes(encoded(image))
    (tmp_path / "link.png").symlink_to(tmp_path / "x.png")
    assert read_image(tmp_path / "link.png").image.size == (96, 64)
    with pytest.raises(ImageTooLargeError, match="bytes"):
        read_image(tmp_path / "x.png", ImageLimits(max_bytes=10))
    with pytest.raises(ImageError, match=r"x\.png: "):
        read_image(tmp_path / "x.png", ImageLimits(max_pixels=1))


@pytest.mark.long
@pytest.mark.parametrize("size", [(1000, 780), (780, 1000), (1600, 1552), (2100, 790)])
@pytest.mark.parametrize("quality", [60, 92])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_the_fast_jpeg_path_stays_within_two_gray_levels(size, quality, subsampling):
    """A reduced decode, resized to the encoder's size, differs from plain Pillow by at most 2 of 255."""
    photo = draw("tartan", np.random.default_rng(3), 400).resize(size, Image.Resampling.BICUBIC)
    data = encoded(photo, "JPEG", quality=quality, subsampling=subsampling)
    side = 128
    fast, plain = decode(data, min_side=side), decode(data)
    assert min(fast.size) >= 3 * side
    assert fast.size != plain.size
    for resample in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR):
        assert difference(fast.resize((side, side), resample), plain.resize((side, side), resample)).max() <= 2


def test_small_jpegs_are_decoded_at_full_size(image):
    """Under six times the needed side a reduction would be visible."""
    for size in (image.size, (765, 900), (1601, 1550)):  # the last one cannot be halved without a shift
        data = encoded(image.resize(size), "JPEG")
        np.testing.assert_array_equal(np.asarray(decode(data, min_side=128)), np.asarray(decode(data)))


def test_many_files_are_read_in_order_and_in_bounded_number(tmp_path, image):
    """Results and errors come in the order of the files, a bounded number ahead; closing ends the threads."""
    paths = []
    for number in range(60):
        path = tmp_path / f"{number:02}.png"
        path.write_bytes(encoded(image.resize((number + 1, 3))) if number % 10 != 7 else b"junk")
        paths.append(path)
    results = list(read_images(paths, ImageLimits(), None, threads=3))
    for number, result in enumerate(results):
        if number % 10 == 7:
            assert isinstance(result, UnsupportedImageError)
        else:
            assert isinstance(result, DecodedImage)
            assert result.image.width == number + 1
    taken = []
    stream = read_images((taken.append(path) or path for path in paths), ImageLimits(), None, threads=2)
    next(stream)
    assert len(taken) <= 2 * 4 + 1
    before = set(threading.enumerate())
    stream.close()
    assert set(threading.enumerate()) <= before
    assert list(read_images([], ImageLimits(), None, threads=2)) == []


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_images_are_decoded_or_refused(data):
    """Any change of the bytes gives an image or an ImageError."""
    original = bytearray(BASES[data.draw(st.sampled_from(FORMATS))])
    for _ in range(data.draw(st.integers(1, 8))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode(bytes(original), ImageLimits(max_pixels=1_000_000))
    except ImageError:
        return
    assert decoded.mode == "RGB"


BASES = {kind: encoded(draw("stripes", np.random.default_rng(1), 24), kind) for kind in FORMATS}


@pytest.mark.long
def test_many_malformed_files(shared, tmp_path):
    """Of 7,814 files from fuzzers and testers each gives an image or an ImageError, about a quarter an image."""
    with tarfile.open(shared / "badimages/badimages.tar.xz") as archive:
        files = [archive.extractfile(member).read() for member in archive if member.isfile()]
    decoded, refused = 0, {}
    for data in files:
        try:
            assert decode(data).mode == "RGB"
            decoded += 1
        except ImageError as error:
            refused[error.kind] = refused.get(error.kind, 0) + 1
    assert decoded + sum(refused.values()) == len(files) > 7000
    assert 1700 <= decoded <= 2200
    assert set(refused) <= {"corrupt", "unsupported", "too_large"}


def test_warnings_about_metadata_do_not_refuse_an_image(image, tmp_path):
    """Where warnings are errors, a good image with odd metadata is still read, in threads too."""
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(encoded(image, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    code = (
        "import sys; from pathlib import Path; from lmm_classifier.data.images import *\n"
        "results = list(read_images(sorted(Path(sys.argv[1]).iterdir()), ImageLimits(), None, 4))\n"
        "assert len(results) == 8 and all(isinstance(result, DecodedImage) for result in results), results"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path)], check=True)
