"""The table of examples is read back unchanged, or rejected."""

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
    """With any texts, digests and other hashes, and values about the table."""
    table, about = from_bytes(to_bytes(Table(LABELS, PATHS, hashes), {"width": 3}), "x")
    assert (table.labels, table.paths, table.hashes, about) == (LABELS, PATHS, hashes, {"width": 3})


def test_every_flipped_bit_is_detected():
    """At any position."""
    good = to_bytes(Table(LABELS, PATHS, SHA256), {})
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="checksum|format"):
            from_bytes(bytes(bad), "x")


def test_a_truncated_table_and_a_former_format_are_rejected():
    """So that they are made again."""
    good = to_bytes(Table(LABELS, PATHS, SHA256), {})
    for length in range(len(good)):
        with pytest.raises(ValueError, match="checksum|format"):
            from_bytes(good[:length], "x")
    body = json.dumps({"labels": LABELS}).encode()
    with pytest.raises(ValueError, match="format"):
        from_bytes(b"%08x\n" % zlib.crc32(body) + body, "x")


def test_an_example_takes_little_space():
    """Its path, its digest, and eight bytes."""
    sizes = [len(to_bytes(Table(LABELS[:1] * count, PATHS[:1] * count, SHA256[:1] * count), {})) for count in (10, 110)]
    assert sizes[1] - sizes[0] <= 100 * (len(PATHS[0]) + 32 + 8) + 20
