"""The cost of a JPEG: its scans are counted exactly, wherever they hide."""

import struct

import pytest

from benchmarks.fault_injection.costly_files import empty_scans, flat, save, scans, segment, with_segments
from lmm_classifier.data.decoding.cost.check import estimate_cost
from lmm_classifier.data.decoding.cost.jpeg import jpeg_scale


def reason(data):
    return estimate_cost(data, 1000.0).main_reason


def test_scans_are_counted():
    """All scans of a progressive file, none of a thumbnail, and none after the end of the image."""
    assert reason(scans(4_000_000, 300)).startswith("310 scans of 4,000,000 pixels")
    assert reason(empty_scans(4_000_000, 70)).startswith("80 scans")
    thumbnail = with_segments(save(flat(4_000_000), "JPEG", progressive=True), segment(0xE1, b"\xff\xda" * 1000))
    assert estimate_cost(thumbnail, 1000.0).seconds < 0.2
    video = save(flat(4_000_000), "JPEG", progressive=True) + b"\xff\xda" * 1000
    assert estimate_cost(video, 1000.0).seconds < 0.2


def test_an_end_inside_a_comment_hides_no_scan():
    """A comment between scans is skipped by its length, as decoders do."""
    data = scans(1_000_000, 300)
    place = data.rindex(b"\xff\xda")
    for _ in range(3):
        data = data[:place] + segment(0xFE, b"\xff\xd9\xff\xda") + data[place:]
    assert reason(data).startswith("310 scans")


def test_a_baseline_file_has_one_scan():
    """Bytes that look like scans cost nothing where decoders stop after the first."""
    data = save(flat(4_000_000), "JPEG")
    assert estimate_cost(data + b"\xff\xda" * 1000, 10.0).seconds < 0.05


def test_coefficients_stay_in_memory_until_the_last_scan():
    """A progressive image needs two bytes more per sample; draft mode reduces only what comes after them."""
    plain, progressive = (save(flat(4_000_000), "JPEG", subsampling=0, progressive=choice) for choice in (False, True))
    memory = [estimate_cost(data, 10.0).memory - len(data) for data in (plain, progressive)]
    assert memory[0] == 4 * 4_000_000
    assert memory[1] == 4 * 4_000_000 + 2 * 3 * 4_000_000
    assert estimate_cost(plain, 10.0, min_side=80).memory - len(plain) == 4 * 4_000_000 // 64


def test_the_padding_of_blocks_is_counted():
    """A thin image with large blocks has many more samples than pixels."""
    thin = bytearray(save(flat(64), "JPEG", subsampling=2))
    place = thin.index(b"\xff\xc0")
    thin[place + 5 : place + 9] = struct.pack(">HH", 60_000, 1)
    assert estimate_cost(bytes(thin), 10.0).seconds > estimate_cost(save(flat(60_000), "JPEG"), 10.0).seconds * 5


def test_entries_of_exif_data_that_overlap_are_counted():
    """A reader copies each entry; together they can be far larger than the data."""
    entries = b"".join(struct.pack("<HHII", tag, 7, 50_000, 8) for tag in range(1000, 2000))
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1000) + entries + bytes(45_000)
    data = with_segments(save(flat(64), "JPEG"), segment(0xE1, exif))
    assert estimate_cost(data, 10.0).memory > 1000 * 50_000
    assert "EXIF" in reason(data)


@pytest.mark.parametrize("cut", range(2, 700, 7))
def test_cut_files_are_read_to_their_end(cut):
    """A file may end anywhere."""
    estimate_cost(save(flat(64), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0")[:cut], 1.0)


def test_scales_divide_both_sides():
    """The reduction leaves three times the needed side, and whole pixels."""
    assert jpeg_scale((4000, 3000), 100) == 8
    assert jpeg_scale((4001, 3000), 100) == 1
    assert jpeg_scale((1600, 1200), 128) == 2
    assert jpeg_scale((1600, 1200), None) == 1


def test_fill_bytes_inside_of_the_pixels_cost_their_square():
    """Each block that is read is joined to all the fill bytes before it."""
    data = save(flat(64 * 64), "JPEG")
    seconds = [estimate_cost(data[:-2] + b"\xff" * count + b"\xd9", 10.0).seconds for count in (10_000_000, 20_000_000)]
    assert seconds[0] > 0.5
    assert seconds[1] > 3 * seconds[0]
