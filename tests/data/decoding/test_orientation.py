"""The orientation is read as Pillow reads it, without its other entries."""

import random
import struct

import pytest
from PIL import Image

from lmm_classifier.data.decoding.orientation import ORIENTATION, exif_bytes, exif_orientation, xmp_orientation


def exif(entries, order="<", prefix=b"Exif\0\0"):
    body = b"".join(struct.pack(order + "HHI4s", *entry) for entry in entries)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return prefix + magic + struct.pack(order + "IH", 8, len(entries)) + body + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"])
def test_both_byte_orders_and_number_types(order, prefix):
    """Short and long numbers count; the last entry wins; what is not 1 to 8 is none."""
    short = {number: (ORIENTATION, 3, 1, struct.pack(order + "HH", number, 0)) for number in range(256)}
    for number in range(1, 9):
        assert exif_orientation(exif([short[number]], order, prefix)) == number
        long = (ORIENTATION, 4, 1, struct.pack(order + "I", number))
        assert exif_orientation(exif([long], order, prefix)) == number
    assert exif_orientation(exif([short[3], short[6]], order, prefix)) == 6
    for number in (0, 9, 255):
        assert exif_orientation(exif([short[number]], order, prefix)) is None


def test_random_changes_are_read_as_pillow_reads_them():
    """Where Pillow finds an orientation of 1 to 8 in changed data, the same is found, and never another."""
    written = Image.Exif()
    written[ORIENTATION], written[0x010F], written[0x0110] = 6, "a camera of some maker", "a model"
    original, rng, compared = written.tobytes(), random.Random(0), 0
    for _ in range(3000):
        data = bytearray(original)
        for _ in range(rng.randrange(3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        expected = Image.Exif()
        try:
            expected.load(bytes(data))
            number = expected.get(ORIENTATION)
        except Exception:  # noqa: BLE001 - Pillow raises many kinds of errors
            continue
        if number in range(1, 9):
            assert exif_orientation(bytes(data)) == number
            compared += 1
    assert compared > 2000


BROKEN = [b"", b"Exif\0\0", b"II*\0", b"II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]


@pytest.mark.parametrize("data", BROKEN)
def test_broken_data_states_none(data):
    """Data may end anywhere, and point anywhere."""
    assert exif_orientation(data) is None
    assert exif_bytes(data) == 0


def test_xmp():
    """XMP states the orientation as an attribute or an element."""
    assert xmp_orientation(b'<x tiff:Orientation="6"/>') == 6
    assert xmp_orientation("<tiff:Orientation>3</tiff:Orientation>") == 3
    assert xmp_orientation(b'tiff:Orientation="9"') is None
    assert xmp_orientation(bytes(1 << 21) + b'tiff:Orientation="6"') is None


def test_the_bytes_of_entries_are_counted():
    """Entries inside the data count with their size, also where they overlap; others do not."""
    value = struct.pack("<I", 8)
    entries = [(tag, 7, 20, value) for tag in range(5)] + [(9, 7, 4, value), (10, 7, 10**6, value), (11, 99, 9, value)]
    assert exif_bytes(exif(entries)) == 5 * 20
