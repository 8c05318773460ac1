"""The table of examples comes back from its bytes as it was, or not at all."""

from __future__ import annotations

import hashlib
import json
import zlib

import pytest

from lmm_classifier.index.storage.table import Table, from_bytes, to_bytes

PATHS = ["a/1.jpg", "a/caf\udce9.png", "b/\N{SNOWMAN}.png"]
LABELS = ["a", "a", "b"]
SHA256 = [hashlib.sha256(path.encode(errors="surrogatepass")).hexdigest() for path in PATHS]


@pytest.mark.parametrize("hashes", [SHA256, ["hash1", "", "hash\n3"]])
def test_round_trip(hashes):
    """Texts of any kind, digests and other hashes, and what was said about them."""
    table, about = from_bytes(to_bytes(Table(LABELS, PATHS, hashes), {"width": 3}), "x")
    assert (table.labels, table.paths, table.hashes, about) == (LABELS, PATHS, hashes, {"width": 3})


def test_every_flipped_bit_is_noticed():
    """Wherever it is."""
    good = to_bytes(Table(LABELS, PATHS, SHA256), {})
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="checksum|format"):
            from_bytes(bytes(bad), "x")


def test_a_shorter_one_and_the_former_format_are_refused():
    """So that they are made anew."""
    good = to_bytes(Table(LABELS, PATHS, SHA256), {})
    for length in range(len(good)):
        with pytest.raises(ValueError, match="checksum|format"):
            from_bytes(good[:length], "x")
    body = json.dumps({"labels": LABELS}).encode()
    with pytest.raises(ValueError, match="format"):
        from_bytes(b"%08x\n" % zlib.crc32(body) + body, "x")


def test_an_example_costs_little():
    """Its path, its digest, and eight bytes: nothing else grows with the corpus."""
    sizes = [len(to_bytes(Table(LABELS[:1] * count, PATHS[:1] * count, SHA256[:1] * count), {})) for count in (10, 110)]
    assert sizes[1] - sizes[0] <= 100 * (len(PATHS[0]) + 32 + 8) + 20
