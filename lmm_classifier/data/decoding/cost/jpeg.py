"""What decoding a JPEG costs: its frame, its scans, and the segments before them."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from lmm_classifier.data.decoding.cost.estimate import CostEstimate
from lmm_classifier.data.decoding.orientation import exif_bytes

_MARGIN = 3  # a reduced JPEG has at least this many times `min_side`: then pixels differ by at most 2 of 255

# seconds, rounded up from measurements
_SAMPLE, _BYTE = 3e-9, 6e-9
_PROGRESSIVE_BYTE = 26e-9
_ARITHMETIC_SAMPLE, _ARITHMETIC_BYTE = 80e-9, 250e-9
_SCAN, _SCAN_SAMPLE = 2e-6, 0.6e-9
_SEGMENT, _PADDING_BYTE = 5e-6, 0.5e-6  # Pillow reads them in Python
_PROFILE_PIXEL, _PROFILE_CMYK_PIXEL, _PROFILE_CMYK = 35e-9, 50e-9, 0.12  # the last one once for each profile
_TURNED_PIXEL = 7e-9
_FILL_SQUARE = 8e-15  # Pillow gives fill bytes to the decoder again with each block that it reads
_RESOURCE, _TABLE_BYTE, _COPIED_BYTE = 3e-6, 0.15e-6, 0.4e-9

_SOS, _EOI, _DQT, _APP1, _APP2, _APP13 = 0xDA, 0xD9, 0xDB, 0xE1, 0xE2, 0xED
_ALONE = frozenset([*range(0xD0, 0xDA), 0x01])  # markers without a length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PADDING = frozenset([0x00, 0xFF])  # after 0xFF: no marker
_READ = _FRAMES | {_APP1, _APP2, _APP13}  # segments that are looked into
_SKIP, _LOOK, _STEP, _PAD = range(4)  # what to do at a marker
_ACTIONS = bytes(
    _PAD if marker in _PADDING else _STEP if marker in _ALONE else _LOOK if marker in _READ else _SKIP
    for marker in range(256)
)
_RUN = re.compile(rb"\xff+")
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")  # ends entropy-coded data
_FEW_SCANS = 64
_MUCH_FILL = b"\xff" * 4096
_FILL_COUNTS = 1_000_000  # bytes; fewer cost 8 ms at most, and the search for them slows small photographs by 3%


class _Frame(NamedTuple):
    """The frame header: the size in pixels, and the samples of all components with their padding."""

    width: int
    height: int
    samples: int
    components: int
    kind: int  # its marker

    @property
    def is_progressive(self) -> bool:
        return self.kind in (0xC2, 0xC6, 0xCA, 0xCE)

    @property
    def is_arithmetic(self) -> bool:
        return self.kind >= 0xC9


def jpeg_scale(size: tuple[int, int], min_side: int | None) -> int:
    """Return the largest reduction, 1, 2, 4 or 8, that changes nothing visible at `min_side`.

    Only scales that divide both sides are used. Others would stretch the last row or column and shift the image.
    """
    width, height = size
    if min_side is not None:
        for scale in (8, 4, 2):
            if width % scale == height % scale == 0 and min(width, height) >= scale * _MARGIN * min_side:
                return scale
    return 1


def add_jpeg(estimate: CostEstimate, data: bytes, min_side: int | None) -> None:
    """Add the cost of a JPEG to `estimate`."""
    header = _Header(data)
    header.read(estimate)
    frame = header.frame
    if frame is None or estimate.exceeded:
        return
    pixels = frame.width * frame.height
    estimate.size = (frame.width, frame.height)
    many_scans = frame.is_progressive or header.components_in_scan < frame.components
    scans = _count_scans(data, header.end, frame, estimate.max_seconds) if many_scans else 1
    size = len(data) - header.end
    if frame.is_arithmetic:
        seconds = size * _ARITHMETIC_BYTE + frame.samples * _ARITHMETIC_SAMPLE
    else:
        seconds = size * (_PROGRESSIVE_BYTE if many_scans else _BYTE) + frame.samples * _SAMPLE
    estimate.add(seconds, "{:,} pixels in {:,} bytes", pixels, size)
    if size > _FILL_COUNTS and _MUCH_FILL in data:
        longest = max(len(run.group()) for run in _RUN.finditer(data, header.end))
        estimate.add(longest**2 * _FILL_SQUARE, "{:,} fill bytes", longest)
    if many_scans:
        estimate.add(scans * (_SCAN + frame.samples * _SCAN_SAMPLE), "{:,} scans of {:,} pixels", scans, pixels)
        estimate.memory += 2 * frame.samples  # all coefficients stay until the last scan
    decoded = pixels // jpeg_scale(estimate.size, min_side) ** 2
    if header.has_profile:
        is_cmyk = frame.components == 4
        seconds = decoded * _PROFILE_CMYK_PIXEL + _PROFILE_CMYK if is_cmyk else decoded * _PROFILE_PIXEL
        estimate.add(seconds, "{:,} pixels with a color profile", decoded)
    if header.may_turn:
        estimate.add(decoded * _TURNED_PIXEL, "{:,} pixels that may be turned", decoded)
    turned_or_converted = header.may_turn or header.has_profile or frame.components != 3
    estimate.memory += decoded * (8 if turned_or_converted else 4)


class _Header:
    """The segments before the first scan. Small photographs are decoded in half a millisecond, so that this is fast."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.end = len(data)  # where the first scan begins
        self.frame: _Frame | None = None
        self.components_in_scan = 0
        self.has_profile = False
        self._exif: list[bytes] = []
        self._tables = self._resources = 0

    @property
    def may_turn(self) -> bool:
        return bool(self._exif)

    def read(self, estimate: CostEstimate) -> None:
        """Read the segments; stop where their number alone takes too long."""
        data, last, place, segments, padding = self._data, len(self._data) - 4, 2, 0, 0
        most_segments, most_padding = estimate.max_seconds / _SEGMENT, estimate.max_seconds / _PADDING_BYTE
        while place <= last and segments <= most_segments and padding <= most_padding:
            marker = data[place + 1]
            action = _ACTIONS[marker] if data[place] == 0xFF else _PAD
            if action == _PAD:
                place, skipped = self._skip_padding(place)
                padding += skipped
                continue
            segments += 1
            if action == _STEP:
                place += 2
                continue
            length = data[place + 2] << 8 | data[place + 3]
            if action == _LOOK:
                self._segment(marker, data[place + 4 : place + 2 + length])
            elif marker == _DQT:
                self._tables += length
            elif marker == _SOS:
                self.components_in_scan, self.end = data[place + 4] if place < last else 0, place + 2
                break
            place += 2 + max(length, 2)
        estimate.add(segments * _SEGMENT, "{:,} segments before the pixels", segments)
        if padding:
            estimate.add(padding * _PADDING_BYTE, "{:,} bytes of padding between segments", padding)
        if self._tables or self._resources:
            estimate.add(self._tables * _TABLE_BYTE, "{:,} bytes of quantization tables", self._tables)
            estimate.add(self._resources * _RESOURCE, "{:,} Photoshop resources", self._resources)
        if self._exif:
            self._add_exif(estimate)

    def _skip_padding(self, place: int) -> tuple[int, int]:
        """Return where the next marker is, and how many bytes before it are none."""
        run = _RUN.search(self._data, place)
        end = len(self._data) if run is None else run.end() - 1
        if self._data[end + 1 : end + 2] == b"\0":
            end += 2
        return end, end - place

    def _segment(self, marker: int, body: bytes) -> None:
        if marker in _FRAMES:
            self.frame = _frame(marker, body) or self.frame
        elif marker == _APP1 and body.startswith(b"Exif\0\0"):
            self._exif.append(body)
        elif marker == _APP2:
            self.has_profile |= body.startswith(b"ICC_PROFILE\0")
        elif marker == _APP13:
            self._resources += body.count(b"8BIM")

    def _add_exif(self, estimate: CostEstimate) -> None:
        """Add the parts of EXIF data, which Pillow joins one by one, and its entries, which it copies."""
        parts = self._exif
        size = sum(map(len, parts))
        if estimate.exceeded:
            return
        joined = size * len(parts) // 2 if len(parts) > 1 else 0
        copied = exif_bytes(parts[0] if len(parts) == 1 else parts[0] + b"".join(part[6:] for part in parts[1:]))
        estimate.memory += size + copied
        estimate.add((joined + copied) * _COPIED_BYTE, "{:,} bytes of EXIF data in {:,} parts", size, len(parts))


def _frame(marker: int, body: bytes) -> _Frame | None:
    if len(body) < 6:
        return None
    height, width, components = struct.unpack_from(">HHB", body, 1)
    across = down = 1
    parts = 0
    for value in body[7 : 6 + 3 * components : 3]:
        first, second = max(value >> 4, 1), max(value & 15, 1)
        across, down, parts = max(across, first), max(down, second), parts + first * second
    samples = 64 * parts * -(-width // (8 * across)) * -(-height // (8 * down))
    return _Frame(width, height, samples, components, marker)


def _count_scans(data: bytes, place: int, frame: _Frame, max_seconds: float) -> int:
    """Return the number of scans, or one above what `max_seconds` allows."""
    scans = data.count(b"\xff\xda", place) + 1
    if scans <= _FEW_SCANS:  # an upper bound, since bytes after the end of the image count too
        return scans
    most, scans = max_seconds / (_SCAN + frame.samples * _SCAN_SAMPLE), 1
    while scans <= most and (found := _MARKER.search(data, place)):
        place, marker = found.end(), data[found.end() - 1]
        if marker == _EOI:
            break
        scans += marker == _SOS
        if marker not in _ALONE and place + 2 <= len(data):
            place += max(int(struct.unpack_from(">H", data, place)[0]), 2)
    return scans
