"""Pixels with a color profile become sRGB, as independent arithmetic computes it."""

import csv
import random
import struct
import subprocess
import sys
import threading
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from lmm_classifier.core.errors import ImageError, UnsupportedImageError
from lmm_classifier.data.decoding import color
from lmm_classifier.data.decoding.color import to_srgb
from lmm_classifier.data.images import accepted_formats, decode, upright_rgb
from lmm_classifier.data.synthetic.catalog import draw
from tests.helpers.icc_profiles import (
    D50,
    cmyk_to_srgb,
    encoded,
    gray_profile,
    profile,
    rgb_profile,
    rgb_to_srgb,
    to_d50,
)
from tests.helpers.paths import TESTS

CMYK = (TESTS / "fixtures" / "chemical_proof_cmyk.icc").read_bytes()
LOSSLESS = {"PNG": {}, "TIFF": {}, "WEBP": {"lossless": True}}
LOSSY = {"JPEG": {"quality": 95}, **({"AVIF": {"quality": 90}} if features.check("avif") else {})}


@pytest.fixture(scope="module")
def photo():
    """Colors of the whole range in smooth and in rough parts."""
    rng = np.random.default_rng(0)
    smooth = np.asarray(draw("tartan", rng, 96).resize((96, 64)))
    return Image.fromarray(np.concatenate([smooth, rng.integers(0, 256, (32, 96, 3), np.uint8)]))


def file_of(image, kind="PNG", **options):
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def error(image, expected):
    return np.abs(np.asarray(image, float) - np.asarray(expected).reshape(np.asarray(image).shape)).mean()


@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize("space", ["p3", "adobe", "prophoto", "rec2020"])
def test_rgb_profiles_give_the_colors_of_matrix_arithmetic(photo, space, version):
    """Display P3, Adobe RGB, ProPhoto and Rec. 2020 are right to rounding; without their profile they are far off."""
    found = decode(file_of(photo, icc_profile=rgb_profile(space, version)))
    expected = rgb_to_srgb(space, photo)
    assert error(found, expected) <= 0.3
    assert np.abs(np.asarray(found) - expected).max() <= 1
    assert error(photo, expected) > 2.5


@pytest.mark.parametrize("kind", [*LOSSLESS, *LOSSY, "HEIF"])
def test_every_format_brings_its_profile(photo, kind):
    """The profile of a file is applied to the pixels that the same file has without it, in separate processes too."""
    if kind == "HEIF" and "HEIF" not in accepted_formats():
        pytest.skip("pillow-heif is not installed")
    options = {**LOSSLESS, **LOSSY}.get(kind, {"quality": 90})
    plain = decode(file_of(photo, kind, **options))
    managed = decode(file_of(photo, kind, icc_profile=rgb_profile("prophoto"), **options))
    assert error(managed, rgb_to_srgb("prophoto", plain)) <= 1
    assert error(plain, rgb_to_srgb("prophoto", plain)) > 10


def test_a_jpeg_profile_in_many_segments(photo):
    """A profile of more than 64 kB is in several segments; if one of them is missing, there is no profile."""
    padded = profile_with(rgb_profile("prophoto"), b"text" + bytes(200_000))
    data = file_of(photo, "JPEG", icc_profile=padded)
    plain = decode(file_of(photo, "JPEG"))
    assert data.count(b"ICC_PROFILE\0") == 4
    assert error(decode(data), rgb_to_srgb("prophoto", plain)) <= 1
    start = data.rindex(b"ICC_PROFILE\0") - 4
    length = int.from_bytes(data[start + 2 : start + 4], "big") + 2
    np.testing.assert_array_equal(decode(data[:start] + data[start + length :]), plain)


def profile_with(content, tag):
    """Return a profile with one more tag, which nothing reads."""
    (count,) = struct.unpack_from(">I", content, 128)
    entries = [list(struct.unpack_from(">4sII", content, 132 + 12 * number)) for number in range(count)]
    for entry in entries:
        entry[1] += 12
    entries.append([b"priv", len(content) + 12, len(tag)])
    table = b"".join(struct.pack(">4sII", *entry) for entry in entries)
    longer = content[:128] + struct.pack(">I", count + 1) + table + content[132 + 12 * count :] + tag
    return struct.pack(">I", len(longer)) + longer[4:]


def test_a_reduced_jpeg_is_managed_too(photo):
    """The fast path of large JPEGs gives managed colors."""
    large = photo.resize((1536, 1536))
    found = decode(file_of(large, "JPEG", icc_profile=rgb_profile("prophoto")), min_side=64)
    plain = decode(file_of(large, "JPEG"), min_side=64)
    assert found.size == plain.size == (192, 192)
    assert error(found, rgb_to_srgb("prophoto", plain)) <= 1


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_cmyk_by_the_tables_of_a_published_profile(kind):
    """Inks get the colors that an independent evaluation of the profile's tables gives; Adobe's inversion is undone."""
    inks = np.random.default_rng(1).integers(0, 256, (8, 8, 4), np.uint8).repeat(16, 0).repeat(16, 1)
    options = {"quality": 100} if kind == "JPEG" else {}
    data = file_of(Image.frombytes("CMYK", (128, 128), inks.tobytes()), kind, icc_profile=CMYK, **options)
    with Image.open(BytesIO(data)) as stored:
        assert (stored.mode, "adobe" in stored.info) == ("CMYK", kind == "JPEG")
        pixels = np.asarray(stored)
    assert np.abs(pixels.astype(int) - inks).mean() < 1
    expected = cmyk_to_srgb(CMYK, pixels.reshape(-1, 4))
    assert error(decode(data), expected) <= 1
    assert error(decode(file_of(Image.fromarray(pixels, "CMYK"), kind, **options)), expected) > 10


def test_cmyk_by_the_measurements_behind_a_published_profile():
    """Printed and measured patches get the colors that were measured on them, relative to the paper."""
    with (TESTS / "fixtures" / "chemical_proof_cmyk.csv").open(encoding="utf-8") as stream:
        rows = np.array([[float(value) for value in row] for row in list(csv.reader(stream))[1:]])
    inks, measured = np.rint(rows[:, :4] * 2.55).astype(np.uint8), rows[:, 4:] / 100
    paper = measured[(inks == 0).all(axis=1)].mean(axis=0)
    black = ((14.4052 + 16) / 116) ** 3 * D50  # L* of the darkest neutral color, as the profile prints it
    xyz = (measured / paper * D50 - D50) * (D50 / (D50 - black)) + D50
    image = Image.frombytes("CMYK", (len(inks), 1), inks.tobytes())
    image.info["icc_profile"] = CMYK
    assert error(to_srgb(image), encoded(xyz @ np.linalg.inv(to_d50("srgb")).T) * 255) <= 1


def test_cmyk_without_a_profile_is_the_simple_mixture():
    """Each channel is (255 - ink) x (255 - black) / 255."""
    inks = np.random.default_rng(2).integers(0, 256, (9, 9, 4), np.uint8)
    expected = (255 - inks[..., :3].astype(int)) * (255 - inks[..., 3:].astype(int)) / 255
    assert np.abs(np.asarray(decode(file_of(Image.fromarray(inks, "CMYK"), "TIFF"))) - expected).max() <= 1


@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_gray_profiles(gamma):
    """Gray of 8 and of 16 bits gets the light of its curve; dark linear gray keeps its steps in 16 bits."""
    ramp = np.arange(256, dtype=np.uint8)[None]
    for levels in (ramp, np.arange(0, 65536, 7, dtype=np.uint16)[None]):
        light = (levels / np.iinfo(levels.dtype).max) ** gamma
        expected = np.repeat(encoded(light)[..., None] * 255, 3, axis=2)
        for kind in ("PNG", "TIFF"):
            found = decode(file_of(Image.fromarray(levels), kind, icc_profile=gray_profile(gamma)))
            assert np.abs(np.asarray(found) - expected).max() <= 1


def test_transparency_and_palette_are_managed_before_white_is_added(photo):
    """Colors are converted, then laid on white; alpha stays as it is."""
    prophoto = {"icc_profile": rgb_profile("prophoto")}
    alpha = Image.linear_gradient("L").resize(photo.size)
    layer = photo.copy()
    layer.putalpha(alpha)
    part = np.asarray(alpha, float)[..., None] / 255
    expected = rgb_to_srgb("prophoto", photo) * part + 255 * (1 - part)
    for kind in ("PNG", "WEBP", "TIFF"):
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
        assert error(decode(file_of(layer, kind, **prophoto, **options)), expected) <= 1
    palette = photo.quantize(64)
    assert error(decode(file_of(palette, **prophoto)), rgb_to_srgb("prophoto", palette.convert("RGB"))) <= 1
    clear = np.asarray(decode(file_of(palette, transparency=palette.getpixel((3, 3)), **prophoto)))
    np.testing.assert_array_equal(clear[3, 3], 255)
    gray = Image.merge("LA", (photo.convert("L"), alpha))
    linear = encoded(np.asarray(photo.convert("L"), float)[..., None] / 255) * 255
    mixed = np.repeat(linear * part + 255 * (1 - part), 3, axis=2)
    assert error(decode(file_of(gray, icc_profile=gray_profile(1.0))), mixed) <= 1


def test_a_profile_of_another_color_model(photo):
    """Gray pixels lie on the neutral axis of an RGB profile, equal bands are gray; what does not fit is ignored."""
    gray = photo.convert("L")
    neutral = np.repeat(np.asarray(gray)[..., None], 3, axis=2)
    expected = rgb_to_srgb("prophoto", neutral)
    assert error(decode(file_of(gray, icc_profile=rgb_profile("prophoto"))), expected) <= 1
    linear = encoded(neutral / 255) * 255
    assert error(decode(file_of(gray.convert("RGB"), icc_profile=gray_profile(1.0))), linear) <= 1
    for content in (gray_profile(1.0), CMYK, profile(b"Lab ", {}), rgb_profile("p3").replace(b"mntr", b"link")):
        np.testing.assert_array_equal(decode(file_of(photo, icc_profile=content)), photo)
    inks = photo.convert("CMYK")
    np.testing.assert_array_equal(
        decode(file_of(inks, "TIFF", icc_profile=rgb_profile("prophoto"))), decode(file_of(inks, "TIFF"))
    )


def test_srgb_under_any_name_changes_no_pixel(photo):
    """Profiles of sRGB are found by what they do, and the image itself is returned."""
    profiles = [rgb_profile("srgb", 2), rgb_profile("srgb", 4)]
    profiles.append(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for content in profiles:
        image = photo.copy()
        image.info["icc_profile"] = content
        assert to_srgb(image) is image
        np.testing.assert_array_equal(decode(file_of(photo, icc_profile=content)), photo)


def test_given_images_are_managed_once(photo):
    """An image with a profile is converted by `upright_rgb`, stays as it was, and is not converted again."""
    image = photo.copy()
    image.info["icc_profile"] = rgb_profile("prophoto")
    found = upright_rgb(image)
    assert error(found, rgb_to_srgb("prophoto", photo)) <= 1
    np.testing.assert_array_equal(image, photo)
    np.testing.assert_array_equal(upright_rgb(found), found)


BROKEN = {
    "empty": b"",
    "text": b"this is no profile" * 20,
    "header only": rgb_profile("p3")[:128],
    "half": rgb_profile("p3")[:300],
    "no curves": profile(b"RGB ", {}),
    "no channel": profile(b"CMYK", {}, kind=b"prtr", connection=b"Lab "),
    "all black": profile(b"RGB ", {f"{c}{n}": b"XYZ " + bytes(16) for c in "rgb" for n in ("XYZ", "TRC")}),
    "many tags": rgb_profile("p3")[:128] + b"\xff\xff\xff\xff" + rgb_profile("p3")[132:],
    "huge": rgb_profile("p3") + bytes(17 << 20),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_broken_profiles_are_ignored(photo, content):
    """A profile that cannot be used costs neither the image nor its pixels."""
    image = photo.copy()
    image.info["icc_profile"] = content
    np.testing.assert_array_equal(upright_rgb(image), photo)
    np.testing.assert_array_equal(decode(file_of(photo, "TIFF", icc_profile=content)), photo)


def mutated(content, generator):
    changed = bytearray(content)
    for _ in range(generator.randint(1, 12)):
        place = generator.randrange(len(changed))
        changed[place] = generator.choice((0, 1, 127, 128, 255, generator.randrange(256)))
    return bytes(changed[: generator.randrange(128, len(changed))] if generator.random() < 0.1 else changed)


def try_mutated_profiles(count, seed):
    """Convert small images by changed profiles; every one gives RGB."""
    generator = random.Random(seed)
    images = {mode: Image.effect_noise((5, 5), 90).convert(mode) for mode in ("RGB", "L", "CMYK")}
    originals = [rgb_profile("p3", 2), rgb_profile("p3", 4), gray_profile(1.8), gray_profile(2.2, 4), CMYK]
    for number in range(count):
        content = originals[number % 5 if number % 60 == 4 else number % 4]
        mode = {b"GRAY": "L", b"CMYK": "CMYK"}.get(content[16:20], "RGB")
        images[mode].info["icc_profile"] = mutated(content, generator)
        assert upright_rgb(images[mode]).mode == "RGB"


def test_mutated_profiles_are_used_or_ignored():
    """Any change of the bytes of a profile gives an image."""
    try_mutated_profiles(60, seed=0)


@pytest.mark.long
def test_many_mutated_profiles_in_a_process_of_their_own():
    """No change of a profile ends the process."""
    code = "from tests.data.decoding.test_color import try_mutated_profiles; try_mutated_profiles(8_000, seed=1)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_programs_in_a_profile_are_not_run():
    """A profile may hold a program with thousands of steps, here one that swaps channels; the curves decide."""
    steps = 9
    matrix = struct.pack(">4s4xHH12f", b"matf", 3, 3, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0)
    positions = b"".join(struct.pack(">II", 16 + 8 * steps, len(matrix)) for _ in range(steps))
    program = struct.pack(">4s4xHHI", b"mpet", 3, 3, steps) + positions + matrix
    content = profile_named(rgb_profile("prophoto", 4), b"D2B1", program)
    image = Image.effect_noise((64, 64), 90).convert("RGB")
    image.info["icc_profile"] = content
    assert error(to_srgb(image), rgb_to_srgb("prophoto", image)) <= 1
    unchecked = color._built(ImageCms.ImageCmsProfile(BytesIO(content)), "RGB").apply(image)
    assert error(unchecked, rgb_to_srgb("prophoto", image)) > 10, "LittleCMS would run it"


def profile_named(content, name, tag):
    return profile_with(content, tag).replace(b"priv", name, 1)


def test_threads_share_transforms(photo):
    """Many threads that convert with the same and with other profiles get the same pixels."""
    color._transforms.clear()
    images = []
    for space in ("p3", "adobe", "prophoto"):
        image = photo.copy()
        image.info["icc_profile"] = rgb_profile(space)
        images.append(image)
    expected = [upright_rgb(image).tobytes() for image in images]
    color._transforms.clear()
    wrong = []

    def convert():
        for _ in range(12):
            wrong.extend(space for space, image in enumerate(images) if upright_rgb(image).tobytes() != expected[space])

    threads = [threading.Thread(target=convert) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(color._transforms) == 3


def test_few_transforms_are_kept(monkeypatch):
    """Images with ever other profiles do not fill the memory."""
    monkeypatch.setattr(color, "_transforms", color.OrderedDict())
    monkeypatch.setattr(color, "_CACHED", 4)
    for number in range(7):
        image = Image.new("L", (1, 1))
        image.info["icc_profile"] = gray_profile(1 + number / 256)
        upright_rgb(image)
    assert len(color._transforms) == 4


def test_without_littlecms_an_image_with_a_profile_is_refused_by_name(photo, monkeypatch):
    """Other pixels than elsewhere are never given silently; images without a profile are read."""
    monkeypatch.setattr(color.features, "check", lambda name: name != "littlecms2")
    monkeypatch.setattr(color, "_transforms", color.OrderedDict())
    with pytest.raises(UnsupportedImageError, match="LittleCMS"):
        decode(file_of(photo, icc_profile=rgb_profile("p3")))
    np.testing.assert_array_equal(decode(file_of(photo)), photo)


def test_a_png_with_a_profile_of_megabytes(photo):
    """Pillow refuses the whole file; the pixels are read without the profile."""
    content = profile_with(rgb_profile("prophoto"), b"text" + bytes(3 << 20))
    np.testing.assert_array_equal(decode(file_of(photo, icc_profile=content)), photo)


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "HSV", "LAB", "I;16", "I", "F", "La", "RGBa", "PA"]
)
def test_every_mode_with_every_kind_of_profile(mode):
    """No pair of a mode and a profile raises anything."""
    base = {"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode, mode)
    image = Image.effect_noise((9, 7), 60)
    image = (
        Image.merge("LAB", [image] * 3)
        if mode == "LAB"
        else image.convert("RGB").convert(base)
        if base in ("HSV", "LA", "RGBA", "CMYK", "YCbCr", "P")
        else image.convert(base)
    )
    image = image.convert(mode) if base != mode else image
    for content in (None, rgb_profile("p3"), gray_profile(1.8), CMYK):
        image.info["icc_profile"] = content
        try:
            assert upright_rgb(image).mode == "RGB"
        except ImageError as problem:
            pytest.fail(f"{mode}: {problem}")
