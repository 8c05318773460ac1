"""The cost of a PNG: chunks, compressed metadata, depth and interlacing."""

import pytest

from benchmarks.fault_injection.costly_files import chunk, png
from lmm_classifier.data.decoding.cost.check import estimate_cost


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


@pytest.mark.parametrize("cut", range(2, 90, 3))
def test_cut_files_are_read_to_their_end(cut):
    """A file may end anywhere."""
    estimate_cost(png(64, 8, 2, 0)[:cut], 1.0)
