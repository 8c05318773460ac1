"""What decoding costs is known from the structure of a file, before a decoder sees it."""

from io import BytesIO

import pytest
from PIL import Image

from benchmarks.fault_injection.costly_files import FAMILIES, flat, save
from lmm_classifier.core.errors import CorruptImageError, ImageTooLargeError
from lmm_classifier.data.decoding.cost.check import check_cost, estimate_cost, is_estimated
from lmm_classifier.data.limits import ImageLimits
from tests.helpers.icc_profiles import rgb_profile

COSTLY = {  # files of a family whose cost is not that of their pixels
    "JPEG": ["thousand scans", "empty scans", "scans of all components", "Photoshop blocks", "padding"],
    "PNG": ["compressed text", "international text", "ICC profiles", "empty pixel chunks", "unknown chunks"],
    "GIF": ["comments", "separate comments", "unknown bytes"],
    "BMP": ["jumps"],
}


@pytest.mark.parametrize("kind", COSTLY)
def test_costly_structures_are_refused_with_the_reason(kind):
    """The message says what was found, the limit, and what to do; the bytes alone prove the refusal."""
    files = FAMILIES[kind](250_000, 4_000)
    for name in COSTLY[kind]:
        with pytest.raises(ImageTooLargeError, match=r"images\.max_seconds") as caught:
            check_cost(files[name], ImageLimits(max_seconds=0.005))
        assert "at most 0.005 s are spent on one image" in str(caught.value), name
        assert caught.value.proven


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP"])
def test_ordinary_images_are_far_below_the_limits(kind):
    """An image of 12 million pixels may be decoded in each format, its memory counted with that of the file."""
    data = save(flat(12_000_000), kind)
    assert is_estimated(data)
    estimate = estimate_cost(data, 2.0)
    assert estimate.size == flat(12_000_000).size
    assert estimate.seconds < 0.5
    assert 4 * 11_000_000 < estimate.memory - len(data) <= 8 * 12_000_000
    assert check_cost(data, ImageLimits()) == estimate.memory


def test_memory_is_limited_too():
    """The refusal names the memory, its limit and the setting."""
    data = save(flat(4_000_000), "JPEG", progressive=True, subsampling=0)
    with pytest.raises(ImageTooLargeError, match=r"40 MB of memory .* at most 20 MB .* images\.max_memory"):
        check_cost(data, ImageLimits(max_memory=20_000_000))


def test_pixels_are_counted_before_their_cost():
    """No pixels, or too many, are refused as such."""
    with pytest.raises(ImageTooLargeError, match="at most 10 are decoded"):
        check_cost(save(flat(100), "PNG"), ImageLimits(max_pixels=10))
    empty = b"GIF89a" + bytes(7) + b","
    with pytest.raises(CorruptImageError, match=r"no pixels \(0 x 0\)"):
        check_cost(empty, ImageLimits())


def test_other_formats_are_guessed():
    """Processes with limits decode them; the guess only says how many at a time."""
    for kind in ("TIFF", "WEBP"):
        data = save(flat(10_000), kind)
        assert not is_estimated(data)
        assert 32_000_000 <= check_cost(data, ImageLimits(max_memory=64_000_000)) <= 300_000_000 + len(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_change_of_colors_is_a_part_of_the_cost(kind):
    """An embedded profile costs more than most of the decoding."""
    image, estimates = Image.new("RGB", (2000, 1000)), []
    for profile in (None, rgb_profile("srgb")):
        file = BytesIO()
        image.save(file, kind, icc_profile=profile)
        estimates.append(estimate_cost(file.getvalue(), 2.0).seconds)
    assert estimates[1] - estimates[0] > 0.05
