"""Files that cost much for their size: one family per format, each as large as a limit that it attacks allows."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from lmm_classifier.data.images import accepted_formats

ImageFile.MAXBLOCK = 1 << 26  # noise is larger than the buffer that Pillow gives its encoder
_JPEG_DC_TABLE = b"\x00" + bytes([0, 1, *[0] * 14]) + b"\x00"  # one code: a difference of 0


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the bytes of an image file."""
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def flat(pixels: int, mode: str = "RGB") -> Image.Image:
    """Return a square image of one color with about that many pixels."""
    side = int(pixels**0.5)
    return Image.new(mode, (side, side))


@cache
def noise(pixels: int, mode: str = "RGB") -> Image.Image:
    """Return a square image of noise with about that many pixels."""
    side, bands = int(pixels**0.5), len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(0).integers(0, 255, (side, side, bands), np.uint8)
    return Image.fromarray(values[..., 0] if bands == 1 else values, mode if bands == 1 else None).convert(mode)


def segment(marker: int, body: bytes) -> bytes:
    """Return a JPEG marker segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def with_segments(data: bytes, segments: bytes) -> bytes:
    """Return a JPEG with more segments after its start."""
    return data[:2] + segments + data[2:]


def scans(pixels: int, count: int) -> bytes:
    """Return a progressive JPEG whose last scan is repeated `count` times."""
    data = save(flat(pixels), "JPEG", progressive=True)
    end = data.rindex(b"\xff\xd9")
    return data[:end] + data[data.rindex(b"\xff\xda") : end] * count + data[end:]


def empty_scans(pixels: int, count: int) -> bytes:
    """Return a progressive JPEG with scans that hold no data: 10 bytes each."""
    data = save(flat(pixels), "JPEG", progressive=True)
    end = data.rindex(b"\xff\xd9")
    return data[:end] + segment(0xDA, bytes([1, 1, 0, 1, 63, 0x10])) * count + data[end:]


def interleaved_scans(pixels: int, count: int) -> bytes:
    """Return a progressive JPEG whose first scan, of all components, is repeated `count` times."""
    data = save(flat(pixels), "JPEG", progressive=True, subsampling=0)
    first = data.index(b"\xff\xda")
    second = data.index(b"\xff\xc4", first)
    return data[:second] + data[first:second] * count + data[second:]


def jpegs(pixels: int, count: int) -> dict[str, bytes]:
    """JPEG: scans, segments, padding, restarts, samplings, color spaces."""
    small = save(flat(64 * 64), "JPEG")
    exif = b"Exif\0\0II*\0" + bytes(65_000)
    return {
        "flat": save(flat(pixels), "JPEG"),
        "noise": save(noise(pixels), "JPEG", quality=98, subsampling=0),
        "flat progressive 4:4:4": save(flat(pixels), "JPEG", progressive=True, subsampling=0),
        "noise progressive": save(noise(pixels // 4), "JPEG", progressive=True, subsampling=0, quality=95),
        "noise CMYK": save(noise(pixels, "CMYK"), "JPEG", quality=95),
        "restart after each block": save(flat(pixels), "JPEG", restart_marker_blocks=1),
        "thousand scans": scans(pixels, 1000),
        "scans of all components": interleaved_scans(pixels, 1000),
        "scans at the limit": interleaved_scans(pixels, int(1.1e9 / pixels / 3)),
        "empty scans": empty_scans(pixels, count),
        "comments": with_segments(small, segment(0xFE, b"") * count),
        "tables": with_segments(small, segment(0xC4, _JPEG_DC_TABLE) * count),
        "quantization tables": with_segments(small, segment(0xDB, b"\0" + bytes([1] * 64)) * count),
        "EXIF parts": with_segments(small, segment(0xE1, exif) * (count // 256)),
        "ICC parts": with_segments(small, segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(64_000)) * (count // 256)),
        "Photoshop blocks": with_segments(
            small, segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000) * (count // 256)
        ),
        "padding": small[:2] + b"\xff" * (count * 16) + small[2:],
        "stuffed zeros": small[:2] + b"\xff\0" * (count * 8) + small[2:],
        "thin": save(Image.new("RGB", (65_000, 1)), "JPEG", progressive=True),
        "trailing bytes": small + bytes(count * 64),
    }


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a PNG chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def paeth(pixels: int) -> bytes:
    """Return a PNG of noise, each row with the filter that costs most."""
    side = int(pixels**0.5)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0))
    rows = np.random.default_rng(0).integers(0, 255, (side, 1 + 4 * side), np.uint8)
    rows[:, 0] = 4
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows.tobytes(), 1)) + chunk(b"IEND", b"")


def png(side: int, depth: int, color: int, interlace: int, *, extra: bytes = b"", parts: int = 1) -> bytes:
    """Return a black PNG, with more chunks before its pixels, and its pixels in many chunks."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, color, 0, 0, interlace))
    row = 1 + (side * channels * depth + 7) // 8
    packer = zlib.compressobj(9)
    zeros = bytes(row * min(side, 256))
    rows = [packer.compress(zeros) for _ in range(side // 256 + 1 + interlace)] + [packer.flush()]
    data = b"".join(rows)
    step = max(len(data) // parts, 1)
    pieces = [data[place : place + step] for place in range(0, len(data), step)]
    palette = chunk(b"PLTE", bytes(768)) if color == 3 else b""
    body = b"".join(chunk(b"IDAT", piece) for piece in pieces)
    return b"\x89PNG\r\n\x1a\n" + header + palette + extra + body + chunk(b"IEND", b"")


def pngs(pixels: int, count: int) -> dict[str, bytes]:
    """PNG: depth, interlace, chunks, compressed metadata, EXIF whose entries overlap."""
    side = int(pixels**0.5)
    bomb = zlib.compress(bytes(1_000_000))
    entries = b"".join(struct.pack("<HHII", tag, 7, 900_000, 8) for tag in range(1000, 61_000))
    exif = b"II*\0\x08\0\0\0" + struct.pack("<H", 60_000) + entries + bytes(4) + bytes(200_000)
    still = png(64, 8, 2, 0)
    frame = chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 64, 64, 0, 0, 1, 1, 0, 0))
    return {
        "16-bit RGBA": png(side, 16, 6, 0),
        "16-bit RGBA interlaced": png(side, 16, 6, 1),
        "16-bit gray": png(side, 16, 0, 0),
        "palette": png(side, 8, 3, 0),
        "palette with transparency": png(side, 8, 3, 0, extra=chunk(b"tRNS", bytes(256))),
        "one bit": png(side, 1, 0, 0),
        "noise": save(noise(pixels // 2, "RGBA"), "PNG", compress_level=1),
        "noise with Paeth filters": paeth(pixels),
        "empty pixel chunks": still[:-12] + chunk(b"IDAT", b"") * count + still[-12:],
        "single-byte pixel chunks": png(side, 16, 6, 0, parts=count),
        "text": png(64, 8, 2, 0, extra=chunk(b"tEXt", b"k\0v") * count),
        "compressed text": png(64, 8, 2, 0, extra=chunk(b"zTXt", b"k\0\0" + bomb) * (count // 16)),
        "international text": png(64, 8, 2, 0, extra=chunk(b"iTXt", b"k\0\1\0\0\0" + bomb) * (count // 16)),
        "ICC profiles": png(64, 8, 2, 0, extra=chunk(b"iCCP", b"k\0\0" + bomb) * (count // 16)),
        "unknown chunks": png(64, 8, 2, 0, extra=chunk(b"abCd", b"") * count),
        "EXIF entries": png(64, 8, 2, 0, extra=chunk(b"eXIf", exif)),
        "animation frames": png(64, 8, 2, 0, extra=chunk(b"acTL", struct.pack(">II", count, 0)) + frame)[:-12]
        + (frame + chunk(b"fdAT", bytes(8))) * (count // 2)
        + chunk(b"IEND", b""),
    }


def gifs(pixels: int, count: int) -> dict[str, bytes]:
    """GIF: canvas, extensions, comments, data in blocks of one byte, frames beyond the canvas."""
    whole = save(flat(pixels, "P"), "GIF")
    small = save(flat(64 * 64, "P"), "GIF")
    frames = save(flat(64 * 64, "P"), "GIF", save_all=True, append_images=[noise(64 * 64, "P")] * 50)
    place = small.index(b",", 13 + 3 * (2 << (small[10] & 7)) if small[10] & 128 else 13)
    image = small[place:-1]
    side = int(pixels**0.5)
    return {
        "flat": whole,
        "noise": save(noise(pixels, "P"), "GIF"),
        "transparent": save(flat(pixels, "P"), "GIF", transparency=0),
        "frames": frames[:-1] + image * (count // 16) + b";",
        "extensions": small[:place] + b"!\x01\x00" * count + small[place:],
        "comments": small[:place] + b"!\xfe" + b"\x01a" * count + b"\0" + small[place:],
        "separate comments": small[:place] + b"!\xfe\x01a\0" * count + small[place:],
        "unknown bytes": small[:place] + b"\0" * (count * 8) + small[place:],
        "frame beyond the canvas": b"GIF89a\1\0\1\0\0\0\0" + b"," + struct.pack("<HHHH", 0, 0, side, side)
        + image[9:] + b";",
        "clear codes": b"GIF89a" + struct.pack("<HH", side, side) + b"\0\0\0," + struct.pack("<HHHH", 0, 0, side, side)
        + b"\0\x02" + (b"\xff" + b"\x24\x92\x49" * 85) * count + b"\0;",
    }  # fmt: skip


def webps(pixels: int, count: int) -> dict[str, bytes]:
    """WebP: lossless, lossy, alpha, animation, a canvas much larger than its frame, unknown chunks."""
    small = save(flat(64 * 64), "WEBP")

    def extended(width: int, height: int, chunks: bytes) -> bytes:
        head = struct.pack("<I", 0)[:4] + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        body = b"WEBPVP8X" + struct.pack("<I", 10) + head + chunks
        return b"RIFF" + struct.pack("<I", len(body)) + body

    side = int(pixels**0.5)
    return {
        "flat lossy": save(flat(pixels), "WEBP", method=0),
        "flat lossless": save(flat(pixels), "WEBP", lossless=True, method=0),
        "noise lossless": save(noise(pixels // 4), "WEBP", lossless=True, method=0),
        "noise lossy": save(noise(pixels // 16), "WEBP", method=0, quality=95),
        "flat alpha": save(flat(pixels, "RGBA"), "WEBP", method=0),
        "animation": save(flat(pixels // 8), "WEBP", save_all=True, append_images=[noise(pixels // 8)], method=0),
        "large canvas": extended(side * 4, side * 4, small[12:]),
        "unknown chunks": extended(64, 64, small[12:] + b"abcd\0\0\0\0" * count),
    }


def tiff(side: int, tags: dict[int, tuple[int, list[int]]], data: bytes) -> bytes:
    """Return a TIFF of one directory; `tags` give type and values, offsets of data start at 8."""
    tags = {256: (4, [side]), 257: (4, [side]), **tags}
    place, extra, entries = 8 + len(data), b"", b""
    size = {3: "H", 4: "I", 1: "B"}
    for tag in sorted(tags):
        kind, values = tags[tag]
        packed = struct.pack(f"<{len(values)}{size[kind]}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack("<I", place + len(extra)), extra + packed
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", place + len(extra)) + data + extra + directory


def tiffs(pixels: int, count: int) -> dict[str, bytes]:
    """TIFF: strips that share their bytes, tiny tiles, compressions, entries that overlap, directories."""
    side = int(pixels**0.5) // 256 * 256
    deflated = zlib.compress(bytes(side * 3 * 256), 9)
    shared = {258: (3, [8, 8, 8]), 259: (3, [8]), 262: (3, [2]), 277: (3, [3]), 278: (3, [256])}
    strips = side // 256
    tile = zlib.compress(bytes(16 * 16 * 3), 9)
    tiles = (side // 64) ** 2
    entries = b"".join(struct.pack("<HHII", tag, 7, 900_000, 8) for tag in range(1000, 61_000))
    plain = save(flat(64 * 64), "TIFF")
    return {
        "flat deflate": save(flat(pixels), "TIFF", compression="tiff_adobe_deflate"),
        "flat LZW": save(flat(pixels), "TIFF", compression="tiff_lzw"),
        "noise LZW": save(noise(pixels), "TIFF", compression="tiff_lzw"),
        "fax": save(flat(pixels, "1"), "TIFF", compression="group4"),
        "JPEG": save(flat(pixels), "TIFF", compression="jpeg"),
        "float": save(Image.new("F", flat(pixels, "1").size), "TIFF", compression="tiff_adobe_deflate"),
        "CMYK": save(flat(pixels, "CMYK"), "TIFF", compression="tiff_lzw"),
        "shared strips": tiff(side, {**shared, 273: (4, [8] * strips), 279: (4, [len(deflated)] * strips)}, deflated),
        "rows as strips": tiff(
            side, {**shared, 278: (3, [1]), 273: (4, [8] * side), 279: (4, [len(deflated)] * side)}, deflated
        ),
        "tiny tiles": tiff(
            side // 4,
            {**shared, 322: (3, [16]), 323: (3, [16]), 324: (4, [8] * tiles), 325: (4, [len(tile)] * tiles)}, tile,
        ),
        "overlapping entries": b"II*\0\x08\0\0\0" + struct.pack("<H", 60_000) + entries + bytes(4) + bytes(200_000),
        "directories": plain + plain * (count // 64),
    }  # fmt: skip


def bmps(pixels: int, count: int) -> dict[str, bytes]:
    """BMP: few bits per pixel, run lengths."""
    side = int(pixels**0.5) // 8 * 8
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)
    rle = b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024) + head + bytes(1024)
    run = b"\xff\0" * (side // 255) + bytes([side % 255 or 1, 0]) + b"\0\0"
    jumps = b"\0\2\1\0" * count
    return {
        "one bit": save(flat(pixels, "1"), "BMP"),
        "run lengths": rle + run * side + b"\0\1",
        "jumps": rle + jumps + b"\0\1",
        "no data": rle + b"\0\1",
    }


def avifs(pixels: int, _count: int) -> dict[str, bytes]:
    """AVIF: a flat image, noise, an animation."""
    return {
        "flat": save(flat(pixels), "AVIF", speed=10),
        "noise": save(noise(pixels // 16), "AVIF", speed=10, quality=80, subsampling="4:4:4"),
        "alpha": save(flat(pixels, "RGBA"), "AVIF", speed=10),
        "animation": save(flat(pixels // 64), "AVIF", save_all=True, append_images=[flat(pixels // 64)] * 3, speed=10),
    }


def heifs(pixels: int, _count: int) -> dict[str, bytes]:
    """HEIC: a flat image, noise, alpha."""
    accepted_formats()  # registers the plug-in
    return {
        "flat": save(flat(pixels), "HEIF", quality=50),
        "noise": save(noise(pixels // 16), "HEIF", quality=80),
        "alpha": save(flat(pixels // 4, "RGBA"), "HEIF", quality=50),
    }


FAMILIES: dict[str, Callable[[int, int], dict[str, bytes]]] = {
    "JPEG": jpegs, "PNG": pngs, "GIF": gifs, "WEBP": webps, "TIFF": tiffs, "BMP": bmps, "AVIF": avifs, "HEIF": heifs,
}  # fmt: skip


def families() -> list[str]:
    """Return the formats that are accepted here and have a family."""
    return [kind for kind in accepted_formats() if kind in FAMILIES]
