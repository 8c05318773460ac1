"""The cost of a GIF: the blocks before the first frame are read as Pillow reads them, malformed ones too."""

import random
from io import BytesIO

import pytest
from PIL import Image

from benchmarks.fault_injection.costly_files import flat, save
from lmm_classifier.data.decoding.cost.check import estimate_cost


def header(width=10, height=10):
    return save(flat(width * height, "P"), "GIF")[:13]


def test_blocks_and_unknown_bytes_are_counted():
    """Each costs the same, whatever it holds."""
    data = save(flat(4096, "P"), "GIF")
    place = data.index(b",", 13)
    comments = data[:place] + b"!\xfe" + b"\x01a" * 900 + b"\0" + data[place:]
    assert estimate_cost(comments, 10.0).main_reason.startswith("901 blocks")
    assert estimate_cost(data[:place] + bytes(9000) + data[place:], 10.0).main_reason.startswith("9,000 unknown bytes")


def test_a_frame_beyond_the_canvas_counts():
    """The canvas grows to hold it."""
    data = bytearray(save(flat(4096, "P"), "GIF"))
    place = data.index(b",", 13)
    data[place + 5 : place + 9] = b"\x00\x10\x00\x10"
    assert estimate_cost(bytes(data), 10.0).size == (4096, 4096)


@pytest.mark.long
def test_the_first_frame_is_found_where_pillow_finds_it():
    """Of random blocks the canvas is that of Pillow, so that no malformed block hides a larger frame."""
    rng, compared = random.Random(0), 0
    parts = [b"!", b"\xf9", b"\xff", b"\xfe", b"\0", b"\x03abc", b"\x0bNETSCAPE2.0", b"\x01a", b"\x07", b"!\xfe\0"]
    for _ in range(3000):
        blocks = b"".join(rng.choice(parts) for _ in range(rng.randrange(1, 9)))
        size = bytes([rng.randrange(1, 200), 0, rng.randrange(1, 200), 0])
        data = header() + blocks + b",\0\0\0\0" + size + b"\0\x02\x02\x44\x01\0;"
        try:
            with Image.open(BytesIO(data)) as image:
                assert estimate_cost(data, 10.0).size == image.size, blocks
                compared += 1
        except (OSError, IndexError):
            continue
    assert compared > 1000


@pytest.mark.parametrize("cut", range(2, 60, 3))
def test_cut_files_are_read_to_their_end(cut):
    """A file may end anywhere."""
    estimate_cost((header() + b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0" + bytes(40))[:cut], 1.0)
