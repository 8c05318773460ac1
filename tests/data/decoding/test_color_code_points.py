"""Files that name their colors by code points have the colors of the profile that these stand for."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, features

from lmm_classifier.data.images import accepted_formats, decode
from lmm_classifier.data.synthetic.catalog import draw
from tests.helpers.icc_profiles import rgb_profile, rgb_to_srgb

SPACES = {9: "rec2020", 12: "p3"}


@pytest.fixture(scope="module")
def photo():
    rng = np.random.default_rng(0)
    smooth = np.asarray(draw("tartan", rng, 96).resize((96, 64)))
    return Image.fromarray(np.concatenate([smooth, rng.integers(0, 256, (32, 96, 3), np.uint8)]))


def png(image, points, **options):
    """Return a PNG with a chunk cICP."""
    stream = BytesIO()
    image.save(stream, "PNG", **options)
    data, body = stream.getvalue(), bytes(points)
    chunk = struct.pack(">I", len(body)) + b"cICP" + body + struct.pack(">I", zlib.crc32(b"cICP" + body))
    return data[:33] + chunk + data[33:]


def error(image, expected):
    return np.abs(np.asarray(image, float) - expected).mean()


@pytest.mark.parametrize("primaries", SPACES)
def test_code_points_of_a_png(photo, primaries):
    """They count more than a profile in the same file."""
    expected = rgb_to_srgb(SPACES[primaries], photo)
    assert error(decode(png(photo, [primaries, 13, 0, 1])), expected) <= 0.3
    assert error(decode(png(photo, [primaries, 13, 0, 1], icc_profile=rgb_profile("prophoto"))), expected) <= 0.3


@pytest.mark.parametrize("points", [[1, 13, 0, 1], [9, 16, 0, 1], [12, 8, 0, 1], [2, 2, 0, 1], [12], []])
def test_other_code_points_leave_the_colors_as_they_are(photo, points):
    """sRGB, high dynamic range, unknown and broken ones."""
    np.testing.assert_array_equal(decode(png(photo, points)), photo)


@pytest.mark.parametrize("kind", ["AVIF", "HEIF"])
def test_code_points_of_avif_and_heic(photo, kind):
    """They are used where there is no profile."""
    if kind not in accepted_formats() or (kind == "AVIF" and not features.check("avif")):
        pytest.skip(f"{kind} is not supported here")
    stream = BytesIO()
    photo.save(stream, kind, quality=90)
    data = stream.getvalue()
    plain, place = decode(data), data.index(b"colrnclx") + 8
    for primaries, space in SPACES.items():
        changed = data[:place] + struct.pack(">HH", primaries, 13) + data[place + 4 :]
        assert error(decode(changed), rgb_to_srgb(space, plain)) <= 1
    stream = BytesIO()
    photo.save(stream, kind, quality=90, icc_profile=rgb_profile("prophoto"))
    data = stream.getvalue()
    if (place := data.find(b"colrnclx")) > 0:
        data = data[: place + 8] + struct.pack(">HH", 12, 13) + data[place + 12 :]
    assert error(decode(data), rgb_to_srgb("prophoto", plain)) <= 1
