"""Values of more than 8 bits use the whole range of gray, whatever part of 16 bits a file uses for them."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.core.errors import CorruptImageError, ImageTooLargeError, UnsupportedImageError
from lmm_classifier.data.decoding.bit_depth import in_full_range
from lmm_classifier.data.images import decode, upright_rgb
from lmm_classifier.data.synthetic.catalog import draw
from tests.helpers.icc_profiles import encoded, gray_profile

BITS = [8, 10, 12, 14, 16]


@pytest.fixture(scope="module")
def eight():
    """A drawn image with black and with white, in 8 bits."""
    image = draw("tartan", np.random.default_rng(0), 96).resize((48, 40))
    pixels = np.asarray(image).astype(float)
    return np.rint((pixels - pixels.min()) * 255 / np.ptp(pixels)).astype(np.uint8)


def wide(eight, bits):
    """Return the twin of an image of 8 bits with values of `bits` bits, of which the lowest ones differ."""
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, eight.shape) * (bits > 8)
    return np.rint((eight + noise).clip(0, 255) * ((1 << bits) - 1) / 255).astype(np.uint16)


def tiff(values, byte_order="<", bits=None, **tags):
    """Return an uncompressed TIFF; `tags` by their number, such as `t281`."""
    high, across, *bands = values.shape
    data = values.astype(values.dtype.newbyteorder(byte_order)).tobytes()
    count = bands[0] if bands else 1
    width = bits or values.dtype.itemsize * 8
    entries = {256: across, 257: high, 259: 1, 262: 2 if bands else 1, 277: count, 278: high, 279: len(data)}
    entries |= {339: {"u": 1, "i": 2, "f": 3}[values.dtype.kind], **{int(name[1:]): tags[name] for name in tags}}
    start = 8 + 2 + 12 * (len(entries) + 2) + 4
    entries[258], entries[273] = width, start + 8 * (count > 1)
    table = struct.pack(byte_order + "H", len(entries))
    for tag, value in sorted(entries.items()):
        many = tag == 258 and count > 1
        table += struct.pack(byte_order + "HHII", tag, 3, count, start) if many else entry(byte_order, tag, value)
    extra = struct.pack(byte_order + "4H", *[width] * 4) if count > 1 else b""
    return (
        (b"II*\0" if byte_order == "<" else b"MM\0*")
        + struct.pack(byte_order + "I", 8)
        + table
        + bytes(4)
        + extra
        + data
    )


def planar_tiff(values, byte_order="<", pack=bytes):
    """Return a TIFF with a plane for each color; `pack` compresses the bytes of one."""
    planes = [pack(values[..., band].astype(values.dtype.newbyteorder(byte_order)).tobytes()) for band in range(3)]
    bits = 8 + 2 + 12 * 11 + 4
    starts = [bits + 32 + sum(map(len, planes[:band])) for band in range(3)]
    sizes = {256: values.shape[1], 257: values.shape[0], 259: 1 if pack is bytes else 8, 262: 2, 277: 3}
    sizes |= {278: values.shape[0], 284: 2, 339: 1}
    rows = {tag: entry(byte_order, tag, value) for tag, value in sizes.items()}
    rows |= {258: struct.pack(byte_order + "HHII", 258, 3, 3, bits)}
    rows |= {tag: struct.pack(byte_order + "HHII", tag, 4, 3, bits + at) for tag, at in ((273, 8), (279, 20))}
    table = struct.pack(byte_order + "H", len(rows)) + b"".join(rows[tag] for tag in sorted(rows)) + bytes(4)
    lists = struct.pack(byte_order + "4H6I", *[16] * 3, 0, *starts, *map(len, planes))
    return (
        (b"II*\0" if byte_order == "<" else b"MM\0*")
        + struct.pack(byte_order + "I", 8)
        + table
        + lists
        + b"".join(planes)
    )


def entry(byte_order, tag, value):
    if value < 65536:
        return struct.pack(byte_order + "HHIHH", tag, 3, 1, value, 0)
    return struct.pack(byte_order + "HHII", tag, 4, 1, value)


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(values, **chunks):
    """Return a PNG of 16 bits with one to four bands and more chunks before the pixels."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if values.ndim == 2 else values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    more = b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def is_twin(decoded, eight):
    """Return whether decoded pixels are those of the twin in 8 bits, to rounding."""
    found, expected = np.asarray(decoded, float), np.asarray(eight, float)
    if expected.ndim == 2:
        expected = np.repeat(expected[..., None], 3, axis=2)
    return np.abs(found - expected).max() <= 1.5 and np.abs(found - expected).mean() <= 0.5


@pytest.mark.parametrize("bits", BITS)
def test_gray_of_any_number_of_bits_is_its_twin_in_8_bits(eight, bits):
    """PNG and TIFF in both byte orders, compressed or not."""
    gray = eight[..., 1]
    gray = np.rint((gray.astype(float) - gray.min()) * 255 / np.ptp(gray))
    values = wide(gray, bits)
    compressed = BytesIO()
    Image.fromarray(values).save(compressed, "TIFF", compression="tiff_lzw")
    for data in (png(values), tiff(values), tiff(values, ">"), compressed.getvalue()):
        assert is_twin(decode(data), gray)
    assert is_twin(upright_rgb(Image.fromarray(values)), gray)
    assert is_twin(upright_rgb(Image.fromarray(values.astype(np.int32))), gray)
    assert is_twin(upright_rgb(Image.fromarray(values.astype(np.float32))), gray)


@pytest.mark.parametrize("bits", BITS)
def test_color_of_any_number_of_bits_is_its_twin_in_8_bits(eight, bits):
    """RGB of 16 bits, of which Pillow keeps the upper byte only, in PNG and TIFF in both byte orders."""
    values = wide(eight, bits)
    for data in (png(values), tiff(values), tiff(values, ">")):
        assert is_twin(decode(data), eight)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_alpha_of_any_number_of_bits(eight, bits):
    """Color and gray with alpha: the range of alpha is found on its own."""
    alpha = np.linspace(0, 255, eight.shape[1])[None].repeat(eight.shape[0], 0)
    part = alpha[..., None] / 255
    values = np.dstack([wide(eight, bits), wide(alpha, bits)])
    expected = eight * part + 255 * (1 - part)
    assert np.abs(np.asarray(decode(png(values))) - expected).mean() <= 1
    opaque = np.dstack([wide(eight, bits), np.full(eight.shape[:2], 65535, np.uint16)])
    assert is_twin(decode(png(opaque)), eight)
    gray = eight[..., :1]
    pair = np.dstack([wide(gray, bits), wide(alpha, bits)])
    assert np.abs(np.asarray(decode(png(pair))) - (gray * part + 255 * (1 - part))).mean() <= 1.5


def test_the_file_says_how_many_bits_count(eight):
    """What PNG and TIFF say comes before the values; a dark image of 12 bits stays dark then."""
    dark = (eight // 8).astype(np.uint8)
    values = wide(dark, 12)
    assert values.max() < 1023
    for data in (png(values, sBIT=bytes([12, 12, 12])), tiff(values, t281=4095)):
        assert is_twin(decode(data), dark)
    gray = values[..., 1]
    for data in (png(gray, sBIT=bytes([12])), tiff(gray, t281=4095), tiff(gray, ">", t281=4095)):
        assert is_twin(decode(data), dark[..., 1])
    for said in (b"\x00", b"\x63", b""):  # numbers that cannot be
        assert not is_twin(decode(png(gray, sBIT=said)), dark[..., 1])


def test_values_that_were_shifted_as_png_asks_are_not_shifted_again(eight):
    """A writer that follows the standard spreads 12 bits over 16, and says that 12 count."""
    dark = (eight // 20).astype(np.uint8)
    shifted = (wide(dark, 12) << 4).astype(np.uint16)
    for values, said in ((shifted, bytes([12] * 3)), (shifted[..., 0], bytes([12]))):
        assert is_twin(decode(png(values, sBIT=said)), dark if values.ndim == 3 else dark[..., 0])


def test_a_dark_image_of_8_bits_stays_dark_in_16(eight):
    """Values of 8 bits times 257 or 256 are no values of fewer bits."""
    dark = (eight // 6).astype(np.uint8)
    for factor in (257, 256):
        values = dark.astype(np.uint16) * np.uint16(factor)
        for data in (png(values), tiff(values)):
            assert is_twin(decode(data), dark)
        assert is_twin(decode(png(values[..., 0])), dark[..., 0])
    assert is_twin(decode(png(np.zeros((4, 4), np.uint16))), np.zeros((4, 4)))


def test_a_tiff_of_12_bits():
    """Two values in three bytes, as cameras and scanners pack them."""
    values = np.array([[0, 4095, 2048, 100]], np.uint16)
    first, second = values[0, ::2].astype(int), values[0, 1::2].astype(int)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1).astype(np.uint8)
    data = tiff(packed.reshape(1, -1), bits=12, t256=4)
    np.testing.assert_array_equal(np.asarray(decode(data))[0, :, 0], np.rint(values[0].astype(float) * 255 / 4095))


def test_white_is_zero(eight):
    """A TIFF in which 0 is white is inverted in 16 bits and in fractions too."""
    gray = np.array(eight[..., 1])
    gray[0, :2] = 0, 255
    assert is_twin(decode(tiff(255 - gray, t262=0)), gray)
    assert is_twin(decode(tiff(65535 - wide(gray, 16), t262=0)), gray)
    assert is_twin(decode(tiff(4095 - wide(gray, 12), t262=0)), gray)
    assert is_twin(decode(tiff((1 - gray / 255).astype(np.float32), t262=0)), gray)


def test_a_transparent_level_of_16_bits(eight):
    """The level or the color that a PNG of 16 bits names is white, and only that one."""
    gray = np.array(wide(eight[..., 0], 16))
    gray[3, 3], gray[3, 4] = 1000, 1001
    found = np.asarray(decode(png(gray, tRNS=struct.pack(">H", 1000))))
    assert found[3, 3].tolist() == [255] * 3
    assert found[3, 4].max() < 10
    color = wide(eight, 16)
    color[3, 3], color[3, 4] = (1000, 20, 3), (1000, 20, 4)
    found = np.asarray(decode(png(color, tRNS=struct.pack(">3H", 1000, 20, 3))))
    assert found[3, 3].tolist() == [255] * 3
    assert found[3, 4].max() < 10


def test_large_integers_and_fractions(eight):
    """Numbers of 32 bits without a sign, and fractions of an unknown unit, are stretched from their range."""
    gray = np.array(eight[..., 1])
    gray[0, :2] = 0, 255
    assert is_twin(decode(tiff(gray.astype(np.uint32) * 16_843_009)), gray)
    assert is_twin(decode(tiff(gray.astype(np.int32) * 1000 - 7000)), gray)
    assert is_twin(decode(tiff((gray / 255 * 1.02).astype(np.float32))), gray)
    assert is_twin(decode(tiff((gray / 255).astype(np.float32))), gray)
    half = gray.astype(np.float32) / 2 + 3
    assert is_twin(decode(tiff(half)), np.rint(half))
    with pytest.raises(CorruptImageError, match="not finite"):
        decode(tiff(np.full((2, 2), np.inf, np.float32)))


def test_gray_with_a_profile_is_scaled_first():
    """12 bits in linear light get both their range and their curve."""
    values = np.arange(0, 4096, 5, dtype=np.uint16)[None]
    values[0, -1] = 4095
    stream = BytesIO()
    Image.fromarray(values).save(stream, "PNG", icc_profile=gray_profile(1.0))
    expected = encoded(values / 4095) * 255
    assert np.abs(np.asarray(decode(stream.getvalue()))[..., 0] - expected).max() <= 1


def test_color_of_16_bits_that_uses_its_range_is_not_decoded_again(eight):
    """Ordinary files, and images of 8 bits, are returned as they are."""
    data = png(wide(eight, 16))
    with Image.open(BytesIO(data)) as image:
        image.load()
        assert in_full_range(image, data) is image
    image = Image.fromarray(eight)
    assert in_full_range(image, None) is image


def test_other_modes(eight):
    """One bit, two bits and planes of 16 bits."""
    bits = Image.fromarray(eight).convert("1")
    for kind in ("PNG", "TIFF", "BMP"):
        stream = BytesIO()
        bits.save(stream, kind)
        np.testing.assert_array_equal(decode(stream.getvalue()), bits.convert("RGB"))
    stream = BytesIO()
    Image.fromarray((np.arange(4, dtype=np.uint8) * 85)[None]).save(stream, "PNG", bits=2)
    assert np.asarray(decode(stream.getvalue()))[0, :, 0].tolist() == [0, 85, 170, 255]


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_planes_of_16_bits(eight, byte_order):
    """Planes give the pixels of interleaved colors; where the lower bytes cannot be had, dark ones are refused."""
    for bits in (12, 16):
        assert is_twin(decode(planar_tiff(wide(eight, bits), byte_order)), eight)
    assert is_twin(decode(planar_tiff(wide(eight, 16), byte_order, zlib.compress)), eight)
    with pytest.raises(UnsupportedImageError, match="planes"):
        decode(planar_tiff(wide(eight, 12), byte_order, zlib.compress))


def test_colors_that_were_multiplied_by_alpha(eight):
    """A TIFF may store color times alpha, in 12 bits too."""
    part = np.linspace(0.3, 1, eight.shape[1])[None, :, None].repeat(eight.shape[0], 0)
    for bits in (12, 16):
        top = (1 << bits) - 1
        values = np.rint(np.concatenate([eight / 255 * part, part], axis=2) * top).astype(np.uint16)
        found = decode(tiff(values, t338=1))
        assert np.abs(np.asarray(found) - (eight * part + 255 * (1 - part))).mean() <= 1


def test_many_dark_values_are_refused_before_they_are_read_again(monkeypatch):
    """Pillow has read the upper bytes only; the lower ones of a large image would take seconds."""
    monkeypatch.setattr("lmm_classifier.data.decoding.bit_depth.MOST_WIDE_PIXELS", 8 * 8 - 1)
    with pytest.raises(ImageTooLargeError, match="8 x 8 dark pixels of 16 bits a color"):
        decode(png(np.full((8, 8, 3), 300, np.uint16)))
