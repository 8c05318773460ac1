"""The headers of a JPEG are read as the encoder wrote them."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lmm_classifier.data.decoding.jpeg_headers import has_end, read_headers
from lmm_classifier.data.synthetic.catalog import draw


def jpeg(**options):
    stream = BytesIO()
    draw("tartan", np.random.default_rng(0), 96).resize((101, 77)).save(stream, "JPEG", **options)
    return stream.getvalue()


def test_a_baseline_file_has_one_scan_of_all_components():
    """Size, sampling, units, blocks and restarts follow from the options of the encoder."""
    headers = read_headers(jpeg(subsampling=2, restart_marker_blocks=4))
    assert (headers.progressive, headers.size, headers.interval, headers.ended) == (False, (101, 77), 4, True)
    assert list(headers.sampling.values()) == [(2, 2), (1, 1), (1, 1)]
    (scan,) = headers.scans
    assert headers.units(scan) == 7 * 5
    assert len(headers.blocks(scan)) == 6
    assert not headers.lacks_a_scan()


def test_a_progressive_file_has_many_scans():
    """Without its last scan some bits of some coefficients are missing."""
    headers = read_headers(jpeg(progressive=True))
    assert headers.progressive
    assert len(headers.scans) > 5
    assert not headers.lacks_a_scan()
    headers.scans.pop()
    assert headers.lacks_a_scan()


def test_tables_tell_lengths_and_symbols():
    """Every code of the standard table for gray is found at all 16 bits that begin with it."""
    stream = BytesIO()
    Image.new("L", (8, 8)).save(stream, "JPEG")
    (scan,) = read_headers(stream.getvalue()).scans
    (dc,) = scan.dc
    assert len(dc) == 65536
    assert dc[0] == dc[0x3FFF] == 2 << 8 | 0
    assert dc[0x4000] == 3 << 8 | 1
    assert dc[-1] == 0


def test_the_end_is_an_end_marker_after_the_scans():
    """An end marker in what follows is not looked for, and nonsense has none."""
    data = jpeg()
    assert has_end(data)
    assert has_end(data + b"\xff\xda more")
    assert not has_end(data[:-2])
    assert not has_end(data[:300] + b"\xff\xd9" + data[300:-2])
    assert not has_end(b"\xff\xd8 nonsense")
    with pytest.raises(ValueError, match="marker"):
        read_headers(b"\xff\xd8 nonsense")
