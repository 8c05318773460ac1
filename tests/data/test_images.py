"""Files become upright RGB pixels by fixed rules, or a typed refusal; never anything else."""

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
    ImageLimits,
    Picture,
    accepted_formats,
    decode,
    read_picture,
    read_pictures,
    upright_rgb,
)
from lmm_classifier.data.synthetic.catalog import draw

ORIENTATION = 0x0112
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else [])]


@pytest.fixture(scope="module")
def picture():
    return draw("tartan", np.random.default_rng(0), 96).resize((96, 64))


def encoded(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def difference(one, other):
    return np.abs(np.asarray(one, float) - np.asarray(other, float))


@pytest.mark.parametrize("kind", FORMATS)
def test_formats(picture, kind):
    """Each accepted format is read, whatever the file is called."""
    got = decode(encoded(picture, kind))
    assert (got.mode, got.size) == ("RGB", (96, 64))
    assert difference(got, picture).mean() < (20 if kind == "GIF" else 8)


def test_heif_where_its_plugin_is_installed(picture):
    """HEIC is read if Pillow has a plug-in for it, and refused by name if not."""
    if "HEIF" not in accepted_formats():
        with pytest.raises(UnsupportedImageError, match="accepted format"):
            decode(b"\0\0\0\x18ftypheic" + bytes(100))
        return
    assert difference(decode(encoded(picture, "HEIF", quality=90)), picture).mean() < 8


def test_hash_and_pixels_come_from_the_same_bytes(picture, tmp_path):
    """The hash is that of the file."""
    (tmp_path / "x.jpg").write_bytes(encoded(picture))
    got = read_picture(tmp_path / "x.jpg")
    assert got.content_hash == hashlib.sha256(encoded(picture)).hexdigest()
    np.testing.assert_array_equal(np.asarray(got.image), np.asarray(picture))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_turns(picture, kind, orientation):
    """All eight orientations come out upright; the picture turned by EXIF is the same as the upright one."""
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
    stored = picture if inverse is None else picture.transpose(inverse)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    got = decode(encoded(stored, kind, exif=exif, **options))
    assert got.size == picture.size
    assert difference(got, picture).max() <= (12 if kind == "JPEG" else 1)
    assert upright_rgb(got).size == picture.size, "what is upright is not turned again"


def test_broken_exif_does_not_refuse_good_pixels(picture):
    """Metadata is no reason to lose a picture."""
    for exif in (b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"):
        assert decode(encoded(picture, "JPEG", exif=exif)).size == picture.size


def test_alpha_lies_on_white():
    """Transparent is white, half transparent is half way; for every way to say so."""
    rgba = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    rgba.paste((200, 0, 0, 128), (0, 0, 2, 4))
    got = np.asarray(decode(encoded(rgba)))
    np.testing.assert_array_equal(got[0, 3], (255, 255, 255))
    assert np.abs(got[0, 0].astype(int) - (227, 127, 127)).max() <= 1
    assert decode(encoded(Image.new("LA", (3, 3), (10, 0)))).getpixel((1, 1)) == (255, 255, 255)
    palette = Image.new("P", (3, 3), 1)
    palette.putpalette([0, 0, 0, 9, 9, 9])
    assert decode(encoded(palette, transparency=1)).getpixel((1, 1)) == (255, 255, 255)
    assert decode(encoded(palette)).getpixel((1, 1)) == (9, 9, 9)
    assert decode(encoded(Image.new("RGB", (3, 3), (1, 2, 3)), transparency=(1, 2, 3))).getpixel((0, 0)) == (255,) * 3


def test_cmyk_and_other_colour_spaces(picture):
    """CMYK, YCbCr, LAB, HSV, one bit and grey become the RGB that they mean."""
    assert difference(decode(encoded(picture.convert("CMYK"), "JPEG", quality=95)), picture).mean() < 5
    assert difference(decode(encoded(picture.convert("CMYK"), "TIFF")), picture).mean() < 2
    assert difference(upright_rgb(picture.convert("HSV")), picture).mean() < 4
    assert difference(upright_rgb(picture.convert("YCbCr")), picture).mean() < 3
    assert upright_rgb(Image.new("LAB", (2, 2), (255, 128, 128))).getpixel((0, 0))[0] > 240
    grey = picture.convert("L")
    np.testing.assert_array_equal(np.asarray(decode(encoded(grey)))[..., 1], np.asarray(grey))
    assert set(np.unique(np.asarray(decode(encoded(picture.convert("1")))))) <= {0, 255}


def test_sixteen_bits_are_scaled_not_clipped(picture):
    """A 16-bit grey picture looks like its 8-bit twin."""
    grey = np.asarray(picture.convert("L"))
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    for kind in ("PNG", "TIFF"):
        got = np.asarray(decode(encoded(wide, kind)), float)[..., 0]
        assert np.abs(got - grey).max() <= 1
        cosine = (got * grey).sum() / np.sqrt((got**2).sum() * (grey.astype(float) ** 2).sum())
        assert cosine >= 0.999
    whole = Image.fromarray(grey.astype(np.int32) * 257)
    assert np.abs(np.asarray(upright_rgb(whole), float)[..., 0] - grey).max() <= 1


def test_fractions_and_odd_ranges():
    """0..1 is 0..255; another range is stretched from its own ends; what is not finite is refused."""
    ramp = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    expected = np.rint(ramp * 255)
    for values in (ramp, ramp * 1000 - 500, (ramp * 1e6).astype(np.int32)):
        got = np.asarray(upright_rgb(Image.fromarray(values)))[..., 0]
        assert np.abs(got - expected).max() <= 1
    assert upright_rgb(Image.fromarray(np.full((2, 2), 7.0, np.float32))).getpixel((0, 0)) == (0, 0, 0)
    with pytest.raises(CorruptImageError, match="not finite"):
        upright_rgb(Image.fromarray(np.array([[np.nan, 1]], np.float32)))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_counts(kind):
    """Of an animation or several pages, the first is seen."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
    got = decode(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    red, green, blue = got.getpixel((4, 4))
    assert red > 240
    assert max(green, blue) < 15


def test_the_given_picture_is_not_changed(picture):
    """`upright_rgb` returns a picture of its own."""
    before = picture.tobytes()
    got = upright_rgb(picture)
    got.paste((0, 0, 0), (0, 0, 9, 9))
    assert picture.tobytes() == before


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
def test_what_is_no_picture(data, kind):
    """Other formats are unsupported, by name of the accepted ones; broken ones are corrupt."""
    with pytest.raises(kind) as caught:
        decode(data)
    assert caught.value.kind in ("unsupported", "corrupt")
    if kind is UnsupportedImageError:
        assert "JPEG" in str(caught.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_files(picture, kind):
    """Cut at every 5 %, a file is refused, or decoded when nothing but a trailer is missing."""
    data = encoded(picture, kind)
    for share in range(0, 100, 5):
        try:
            decode(data[: len(data) * share // 100])
        except ImageError:
            continue
        assert share >= 90, f"{kind} cut at {share} % was decoded"


def bomb(width, height):
    """A PNG that declares a huge size and holds nothing."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_too_many_pixels(picture):
    """The limit is inclusive and told from the header, at any size."""
    for width, height in ((8000, 8001), (10_000, 10_000), (60_000, 60_000)):
        with pytest.raises(ImageTooLargeError):
            decode(bomb(width, height))
    assert decode(encoded(picture), ImageLimits(max_pixels=96 * 64)).size == (96, 64)
    with pytest.raises(ImageTooLargeError, match="96 x 64 pixels, at most 6,143"):
        decode(encoded(picture), ImageLimits(max_pixels=96 * 64 - 1))


def test_files_that_cannot_be_read(tmp_path, picture):
    """Missing files, folders, pipes and large files are refused without reading or waiting."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for name in ("missing.jpg", "", "pipe.jpg", "loop.jpg", "a\0b.jpg"):
        with pytest.raises(UnreadableImageError):
            read_picture(tmp_path / name)
    (tmp_path / "x.png").write_bytes(encoded(picture))
    (tmp_path / "link.png").symlink_to(tmp_path / "x.png")
    assert read_picture(tmp_path / "link.png").image.size == (96, 64)
    with pytest.raises(ImageTooLargeError, match="bytes"):
        read_picture(tmp_path / "x.png", ImageLimits(max_bytes=10))
    with pytest.raises(ImageError, match=r"x\.png: "):
        read_picture(tmp_path / "x.png", ImageLimits(max_pixels=1))


@pytest.mark.parametrize("size", [(1000, 780), (780, 1000), (1600, 1552), (2100, 790)])
@pytest.mark.parametrize("quality", [60, 92])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_the_fast_jpeg_path_stays_within_two_grey_levels(size, quality, subsampling):
    """A reduced decode, resized to the encoder's size, differs from plain Pillow by at most 2 of 255."""
    photo = draw("tartan", np.random.default_rng(3), 400).resize(size, Image.Resampling.BICUBIC)
    data = encoded(photo, "JPEG", quality=quality, subsampling=subsampling)
    side = 128
    fast, plain = decode(data, min_side=side), decode(data)
    assert min(fast.size) >= 3 * side
    assert fast.size != plain.size
    for resample in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR):
        assert difference(fast.resize((side, side), resample), plain.resize((side, side), resample)).max() <= 2


def test_small_jpegs_are_decoded_whole(picture):
    """Under six times the size there is nothing to save."""
    for size in (picture.size, (765, 900), (1601, 1550)):  # the last one cannot be halved without a shift
        data = encoded(picture.resize(size), "JPEG")
        np.testing.assert_array_equal(np.asarray(decode(data, min_side=128)), np.asarray(decode(data)))


def test_reading_many_in_order_with_a_bounded_look_ahead(tmp_path, picture):
    """Results come in order, bad files in their place, never more than the window ahead; closing stops it."""
    paths = []
    for number in range(60):
        path = tmp_path / f"{number:02}.png"
        path.write_bytes(encoded(picture.resize((number + 1, 3))) if number % 10 != 7 else b"junk")
        paths.append(path)
    results = list(read_pictures(paths, ImageLimits(), None, threads=3))
    for number, result in enumerate(results):
        if number % 10 == 7:
            assert isinstance(result, UnsupportedImageError)
        else:
            assert isinstance(result, Picture)
            assert result.image.width == number + 1
    taken = []
    stream = read_pictures((taken.append(path) or path for path in paths), ImageLimits(), None, threads=2)
    next(stream)
    assert len(taken) <= 2 * 4 + 1
    before = threading.active_count()
    stream.close()
    assert threading.active_count() <= before
    assert list(read_pictures([], ImageLimits(), None, threads=2)) == []


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mutated_pictures_decode_or_are_refused(data):
    """Whatever happens to the bytes, there is a picture or an ImageError."""
    original = bytearray(BASES[data.draw(st.sampled_from(FORMATS))])
    for _ in range(data.draw(st.integers(1, 8))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    try:
        got = decode(bytes(original), ImageLimits(max_pixels=1_000_000))
    except ImageError:
        return
    assert got.mode == "RGB"


BASES = {kind: encoded(draw("stripes", np.random.default_rng(1), 24), kind) for kind in FORMATS}


def test_a_corpus_of_malformed_files(shared, tmp_path):
    """7,814 fuzzers' and testers' files: each is a picture or an ImageError, and about a quarter are pictures."""
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


def test_metadata_remarks_are_not_refusals(picture, tmp_path):
    """Where warnings are errors, a good picture with odd metadata is still read, in threads as well."""
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(encoded(picture, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"))
    code = (
        "import sys; from pathlib import Path; from lmm_classifier.data.images import *\n"
        "got = list(read_pictures(sorted(Path(sys.argv[1]).iterdir()), ImageLimits(), None, 4))\n"
        "assert len(got) == 8 and all(isinstance(one, Picture) for one in got), got"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path)], check=True)
