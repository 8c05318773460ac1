"""A JPEG without its end marker is complete if and only if its last scan has all its bits."""

import random
import re
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.data.decoding import jpeg_scans
from lmm_classifier.data.decoding.jpeg_scans import is_complete
from lmm_classifier.data.synthetic.catalog import draw

OPTIONS = {
    "baseline": {},
    "optimized": {"optimize": True},
    "full color": {"subsampling": 0},
    "quality 100": {"quality": 100},
    "quality 10": {"quality": 10},
    "restarts in a row": {"restart_marker_blocks": 3},
    "restarts at rows": {"restart_marker_rows": 1},
    "progressive": {"progressive": True},
    "progressive with restarts": {"progressive": True, "restart_marker_rows": 1},
}


def images():
    rng = np.random.default_rng(0)
    drawn = draw("tartan", rng, 96)
    return {
        "drawn": drawn.resize((101, 77)),
        "noise": Image.fromarray(rng.integers(0, 256, (37, 51, 3), np.uint8)),
        "white": Image.new("RGB", (40, 33), "white"),
        "gray": drawn.convert("L").resize((65, 33)),
        "inks": drawn.resize((33, 40)).convert("CMYK"),
    }


def jpeg(image, **options):
    stream = BytesIO()
    image.save(stream, "JPEG", **options)
    return stream.getvalue()


def check_cuts(image, options, count, generator):
    """Without the two bytes of the end a file is complete; without one more byte, or cut anywhere else, it is not."""
    data = jpeg(image, **options)
    assert is_complete(data[:-2])
    assert not is_complete(data), "it has an end"
    marks = [place for mark in re.finditer(rb"\xff[\xc4\xd0-\xd7\xda]", data) for place in mark.span()]
    cuts = {len(data) - 3, len(data) - 4, *generator.sample(range(len(data) - 2), count), *marks[-count:]}
    for cut in cuts:
        assert not is_complete(data[:cut]), f"cut at {cut} of {len(data)}"


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_only_the_whole_data_is_complete(options):
    """Each way to write a JPEG, in color and one more kind of image."""
    kinds = images()
    other = sorted(kinds)[len(repr(options)) % len(kinds)]
    for image in (kinds["drawn"], kinds[other]):
        check_cuts(image, options, 2, random.Random(0))


@pytest.mark.long
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_no_cut_of_any_image_is_complete(options):
    """Hundreds of cuts of each way to write a JPEG, for each kind of image."""
    for image in images().values():
        check_cuts(image, options, 100, random.Random(1))


def test_a_file_of_several_scans_without_progression():
    """The components may be sent one after the other; all of them must be there."""
    whole = jpeg(images()["drawn"], subsampling=0)
    start = whole.index(b"\xff\xda")
    alone = jpeg(images()["drawn"].convert("L"))
    header = whole[:start]
    assert not is_complete(
        header + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + alone[alone.index(b"\xff\xda") + 10 : -2]
    )


def test_nonsense_is_not_complete():
    """Changed and random bytes give an answer, and never an error."""
    generator = random.Random(1)
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        original = jpeg(images()["drawn"], **options)[:-2]
        for _ in range(12):
            changed = bytearray(original)
            for _ in range(generator.randint(1, 5)):
                changed[generator.randrange(2, len(changed))] = generator.randrange(256)
            assert is_complete(bytes(changed)) in (True, False)
    assert not is_complete(b"")
    assert not is_complete(b"\xff\xd8\xff")
    assert not is_complete(bytes(5 << 20))


@pytest.mark.parametrize("limit", ["_MOST_BYTES", "_MOST_BLOCKS", "_MOST_CODES", "_MOST_REFINED_BYTES"])
def test_the_work_is_bounded(monkeypatch, limit):
    """A file that would take too long is not followed, and so it is not complete."""
    data = jpeg(images()["drawn"], progressive=limit == "_MOST_REFINED_BYTES")[:-2]
    assert is_complete(data)
    monkeypatch.setattr(jpeg_scans, limit, 20)
    assert not is_complete(data)
