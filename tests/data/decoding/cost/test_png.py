"""The cost of a PNG: chunks, compressed metadata, depth and interlacing."""

import tracemalloc

import pytest
from PIL import ImageFile

from benchmarks.fault_injection.costly_files import chunk, png
from lmm_classifier.core.errors import ImageTooLargeError
from lmm_classifier.data.decoding.cost.check import check_cost, estimate_cost
from lmm_classifier.data.images import decode
from lmm_classifier.data.limits import ImageLimits


def test_chunks_and_what_they_can_inflate_to_are_counted():
    """Each chunk costs the same; compressed text costs what it may become, one megabyte at most."""
    plain = estimate_cost(png(64, 8, 2, 0), 10.0).seconds
    many = estimate_cost(png(64, 8, 2, 0, extra=chunk(b"abCd", b"") * 1000), 10.0)
    assert many.main_reason.startswith("1,003 chunks")
    assert many.seconds - plain == pytest.approx(1000 * 7e-6, rel=0.1)
    text = estimate_cost(png(64, 8, 2, 0, extra=chunk(b"iCCP", bytes(100)) * 10), 10.0)
    assert text.main_reason.startswith("up to 1,032,000 bytes of compressed metadata")
    large = estimate_cost(png(64, 8, 2, 0, extra=chunk(b"zTXt", bytes(9000)) * 10), 10.0)
    assert large.main_reason.startswith(f"up to {10 << 20:,} bytes")


def test_chunks_after_the_end_do_not_count():
    """Decoders stop there."""
    data = png(64, 8, 2, 0)
    assert estimate_cost(data + chunk(b"abCd", b"") * 1000, 10.0).seconds < 0.001


def test_depth_and_interlacing_cost_more():
    """Sixteen bits of four channels cost more than eight of one, interlaced rows more than plain ones."""
    seconds = [estimate_cost(png(512, *kind), 10.0).seconds for kind in ((8, 0, 0), (8, 6, 0), (16, 6, 0), (16, 6, 1))]
    assert seconds == sorted(seconds)
    assert seconds[2] > 3 * seconds[0]


@pytest.mark.long
def test_a_transparent_color_costs_time_and_in_16_bits_memory():
    """A transparent level of gray needs a second band, and dark colors of 16 bits are read twice."""
    level = chunk(b"tRNS", b"\0\0")
    for depth, least in ((8, 1.5), (16, 2.0)):
        plain, clear = (estimate_cost(png(512, depth, 0, 0, extra=extra), 10.0) for extra in (b"", level))
        assert clear.seconds > least * plain.seconds
    with pytest.raises(ImageTooLargeError, match="a transparent color"):
        check_cost(png(8000, 16, 0, 0, extra=level), ImageLimits())
    assert estimate_cost(png(512, 16, 2, 0), 10.0).memory > 3 * estimate_cost(png(512, 8, 2, 0), 10.0).memory


@pytest.mark.parametrize("color", [0, 2, 6])
def test_16_bits_need_no_more_memory_than_estimated(color, monkeypatch):
    """Arrays that are computed on the way count too."""
    monkeypatch.setattr(ImageFile, "MAXBLOCK", 1 << 16)  # the buffer of Pillow's decoder, large for costly files
    extra = b"" if color == 6 else chunk(b"tRNS", bytes(2 if color == 0 else 6))
    data = png(512, 16, color, 0, extra=extra)
    decode(data)  # what is made once does not count
    tracemalloc.start()
    decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < estimate_cost(data, 10.0).memory


@pytest.mark.parametrize("cut", range(2, 90, 3))
def test_cut_files_are_read_to_their_end(cut):
    """A file may end anywhere."""
    estimate_cost(png(64, 8, 2, 0)[:cut], 1.0)
