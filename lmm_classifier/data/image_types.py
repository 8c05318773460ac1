"""Which files of a folder are images: by the ending of the name, and where that says nothing, by the first bytes.

A file that is named by itself is always read; its bytes then decide.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

EXTENSIONS = frozenset(
    ["jpg", "jpeg", "jpe", "jfif", "mpo", "png", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif", "heic", "heif"]
)
UNSUPPORTED = frozenset(  # images too, of formats that are not decoded; some begin like a TIFF
    [
        "jp2", "j2k", "jpf", "jpx", "jpm", "jxl", "jxr", "wdp", "ppm", "pgm", "pbm", "pnm", "pfm", "tga", "ico", "icns",
        "psd", "psb", "xcf", "svg", "svgz", "dds", "exr", "pcx", "sgi", "qoi", "dcm", "dicom", "fits",
        "raw", "dng", "nef", "nrw", "cr2", "cr3", "arw", "orf", "rw2", "raf", "pef", "srw", "3fr", "erf", "kdc", "x3f",
    ]
)  # fmt: skip
_HEAD = 18  # bytes that tell a format
_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # sizes of the second header
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")


def extension(name: str) -> str:
    """Return the ending of a file name in lower case, "" where there is none."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def has_image_content(path: Path | str) -> bool:
    """Return whether a file begins like an image of an accepted format; raise OSError where it cannot be read.

    A pipe or a device is never read: that could wait for ever.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        return stat.S_ISREG(os.fstat(handle).st_mode) and is_image_head(os.read(handle, _HEAD))
    finally:
        os.close(handle)


def is_image_head(head: bytes) -> bool:
    """Return whether the first 18 bytes of a file are those of an image in an accepted format."""
    if head.startswith(_STARTS):
        return True
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[:2] == b"BM":  # two letters are not enough: a text may begin with them
        return head[6:10] == b"\0\0\0\0" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS
