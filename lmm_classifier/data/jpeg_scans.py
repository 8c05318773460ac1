"""Tell whether a JPEG that lacks its end marker has all its compressed data, by following its Huffman codes to the end.

A decoder cannot tell: where bits are missing it invents some, and often gives the same pixels for any of them. ITU-T
T.81 defines the format. Baseline and progressive files are followed; their pixels are not computed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_MOST_BYTES = 4 << 20  # of a file; following its codes takes about 1.5 s then
_MOST_REFINED_BYTES = 2 << 20  # where several scans are followed
_MOST_BLOCKS = 1_500_000  # in all scans that are followed
_MOST_CODES = 7_000_000
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # one that ends compressed data
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_STANDALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, with Huffman codes

Table = Sequence[int]  # for each 16 bits: the length of the code that they begin with x 256 + its symbol; 0: no code


@dataclass(frozen=True)
class _Scan:
    components: list[int]
    dc: list[Table]
    ac: list[Table]
    first: int  # coefficients
    last: int
    high: int  # bits: 0 in the first scan of a coefficient
    low: int
    interval: int  # units between restarts
    content: bytes


@dataclass
class _Jpeg:
    """What stands before the compressed data."""

    progressive: bool = False
    size: tuple[int, int] = (0, 0)  # pixels
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)  # across and down, by component
    interval: int = 0
    ended: bool = False  # there is an end marker
    tables: dict[int, Table] = field(default_factory=dict)
    scans: list[_Scan] = field(default_factory=list)

    def begin(self, frame: bytes) -> None:
        self.size = int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
        self.sampling = {frame[at]: (frame[at + 1] >> 4, frame[at + 1] & 15) for at in range(6, len(frame) - 2, 3)}

    def add(self, header: bytes, content: bytes) -> None:
        count = header[0]
        chosen = [header[2 + 2 * number] for number in range(count)]
        first, last, bits = header[1 + 2 * count :][:3]
        self.scans.append(
            _Scan(
                [header[1 + 2 * number] for number in range(count)],
                [self.tables.get(tables >> 4, ()) for tables in chosen],
                [self.tables.get(16 + (tables & 15), ()) for tables in chosen],
                *((first, last, bits >> 4, bits & 15) if self.progressive else (0, 63, 0, 0)),
                self.interval,
                content,
            )
        )

    def lacks_a_scan(self) -> bool:
        """Return whether a coefficient of a component was not sent to its last bit."""
        sent = {
            (component, number)
            for scan in self.scans
            if scan.low == 0
            for component in scan.components
            for number in range(scan.first, scan.last + 1)
        }
        return any((component, number) not in sent for component in self.sampling for number in range(64))

    def units(self, scan: _Scan) -> int:
        """Return the number of coded units: blocks of one component, or groups of blocks of several."""
        most = [max(factors) for factors in zip(*self.sampling.values())]
        own = self.sampling[scan.components[0]] if len(scan.components) == 1 else None
        units = 1
        for axis in range(2):
            side = self.size[axis] if own is None else -(-self.size[axis] * own[axis] // most[axis])
            units *= -(-side // (8 * most[axis] if own is None else 8))
        return units

    def blocks(self, scan: _Scan) -> list[tuple[Table, Table]]:
        """Return the tables of each block of a unit."""
        pairs = []
        for component, *pair in zip(scan.components, scan.dc, scan.ac):
            across, down = (1, 1) if len(scan.components) == 1 else self.sampling[component]
            pairs += [(pair[0], pair[1])] * (across * down)
        return pairs


def has_end(data: bytes) -> bool:
    """Return whether a JPEG has an end marker after its scans; no for what cannot be followed."""
    try:
        return _headers(data).ended
    except (IndexError, ValueError):
        return False


def is_complete(data: bytes) -> bool:
    """Return whether a JPEG without an end marker has all its compressed data; no for what cannot be followed."""
    if len(data) > _MOST_BYTES:
        return False
    try:
        jpeg = _headers(data)
        if jpeg.ended or not jpeg.scans or not data.endswith(jpeg.scans[-1].content) or jpeg.lacks_a_scan():
            return False
        scan = jpeg.scans[-1]
        if jpeg.progressive and scan.high and scan.first:
            return _refinement_is_complete(jpeg)
        return _follow(jpeg, scan, None, len(_parts(scan)) - 1)
    except (IndexError, KeyError, ValueError, ZeroDivisionError):
        return False


def _headers(data: bytes) -> _Jpeg:
    """Return what stands before the scans and the scans, up to the end marker or to what is no marker."""
    jpeg, place = _Jpeg(), 2
    while place + 1 < len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xD9:
            jpeg.ended = True
            break
        if marker == 0xFF or marker in _STANDALONE:
            place += 1 if marker == 0xFF else 2
            continue
        start = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        part, place = data[place + 4 : start], start
        if marker in _FRAMES:
            jpeg.progressive = marker == 0xC2
            jpeg.begin(part)
        elif marker == 0xC4:
            jpeg.tables.update(_tables(part))
        elif marker == 0xDD:
            jpeg.interval = int.from_bytes(part[:2], "big")
        elif marker == 0xDA:
            found = _MARKER.search(data, start)
            place = found.start() if found else len(data)
            jpeg.add(part, data[start:place])
    if place < len(data) and not jpeg.ended:
        raise ValueError("something else than a marker")
    return jpeg


def _tables(part: bytes) -> Iterator[tuple[int, Table]]:
    """Yield the Huffman tables of a segment: 0 to 3 are for DC, 16 to 19 for AC."""
    while part:
        counts, table, code, place = part[1:17], [0] * 65536, 0, 17
        for length, count in enumerate(counts, 1):
            span = 1 << 16 - length
            if code + count * span > 65536:
                raise ValueError("more codes than there can be")
            for symbol in part[place : place + count]:
                table[code : code + span] = [length << 8 | symbol] * span
                code += span
            place += count
        yield part[0], table
        part = part[place:]


def _parts(scan: _Scan) -> list[bytes]:
    return _RESTART.split(scan.content)


def _units_of(jpeg: _Jpeg, scan: _Scan, number: int) -> tuple[int, int]:
    """Return the first and the end of the units between two restarts; raises ValueError for a wrong count."""
    units = jpeg.units(scan)
    interval = scan.interval or units
    if len(_parts(scan)) != -(-units // interval) or units * len(jpeg.blocks(scan)) > _MOST_BLOCKS:
        raise ValueError("another number of restarts than the header says, or too many blocks")
    return number * interval, min((number + 1) * interval, units)


def _follow(jpeg: _Jpeg, scan: _Scan, masks: list[int] | None, number: int) -> bool:
    """Follow the codes of one part of a scan; return whether its bits suffice. `masks` as in `_follow_refinement`."""
    start, end = _units_of(jpeg, scan, number)
    windows, size = _windows(_parts(scan)[number])
    if not jpeg.progressive:
        return _follow_baseline(end - start, jpeg.blocks(scan), windows, size)
    if scan.first == 0:
        if scan.high:
            return (end - start) * len(jpeg.blocks(scan)) <= size
        return _follow_dc(end - start, [dc for dc, _ in jpeg.blocks(scan)], windows, size)
    if scan.high:
        return _follow_refinement(range(start, end), scan, windows, size, masks or [])
    return _follow_ac(range(start, end), scan, windows, size, masks)


def _windows(part: bytes) -> tuple[memoryview, int]:
    """Return the 32 bits that begin at each byte of compressed data, and its size in bits."""
    content = part.replace(b"\xff\x00", b"\xff")
    values = np.frombuffer(content + bytes(64), np.uint8).astype(np.uint32)
    windows: Any = values[:-3] << 24 | values[1:-2] << 16 | values[2:-1] << 8 | values[3:]
    return memoryview(windows), 8 * len(content)


def _follow_baseline(units: int, blocks: list[tuple[Table, Table]], windows: memoryview, size: int) -> bool:
    place = codes = 0
    for _ in range(units):
        for dc, ac in blocks:
            entry = dc[windows[place >> 3] >> 16 - (place & 7) & 0xFFFF]
            place += (entry >> 8) + (entry & 255)
            number = 1
            while number < 64:
                codes += 1
                following = ac[windows[place >> 3] >> 16 - (place & 7) & 0xFFFF]
                place += (following >> 8) + (following & 15)
                if following & 15:
                    number += (following >> 4 & 15) + 1
                elif following & 255 == 0xF0:
                    number += 16
                else:
                    break
                entry = entry and following
            if not (entry and following) or number > 64 or place > size or codes > _MOST_CODES:
                return False
    return True


def _follow_dc(units: int, tables: list[Table], windows: memoryview, size: int) -> bool:
    place = 0
    for _ in range(units):
        for dc in tables:
            entry = dc[windows[place >> 3] >> 16 - (place & 7) & 0xFFFF]
            place += (entry >> 8) + (entry & 255)
            if not entry or place > size:
                return False
    return True


def _follow_ac(units: range, scan: _Scan, windows: memoryview, size: int, masks: list[int] | None) -> bool:
    """Follow a first scan of AC; in `masks`, set the bit of each coefficient of a block that is not zero."""
    (ac,), place, run = scan.ac, 0, 0  # run: blocks that have no more coefficients
    for unit in units:
        if run:
            run -= 1
            continue
        number = scan.first
        while number <= scan.last:
            entry = ac[windows[place >> 3] >> 16 - (place & 7) & 0xFFFF]
            place += entry >> 8
            zeros, bits = entry >> 4 & 15, entry & 15
            if not entry or place + bits > size:
                return False
            if bits == 0 and zeros < 15:
                run = (1 << zeros) - 1 + (windows[place >> 3] >> 32 - zeros - (place & 7) & (1 << zeros) - 1)
                place += zeros
                break
            number += zeros
            if bits and masks is not None:
                masks[unit] |= 1 << number
            place += bits
            number += 1
    return place <= size


def _refinement_is_complete(jpeg: _Jpeg) -> bool:
    """Return whether a last scan that refines AC is complete; its length depends on the scans before it."""
    last = jpeg.scans[-1]
    history = [scan for scan in jpeg.scans if scan.components == last.components and scan.first]
    units = jpeg.units(last)
    if units * len(history) > _MOST_BLOCKS or sum(len(scan.content) for scan in history) > _MOST_REFINED_BYTES:
        return False
    masks = [0] * units
    return all(_follow(jpeg, scan, masks, number) for scan in history for number in range(len(_parts(scan))))


def _follow_refinement(units: range, scan: _Scan, windows: memoryview, size: int, masks: list[int]) -> bool:
    """Follow a scan that adds a bit to each coefficient that is not zero, and makes others not zero."""
    (ac,), place, run = scan.ac, 0, 0
    band = (2 << scan.last) - (1 << scan.first)
    for unit in units:
        mask, number = masks[unit] & band, scan.first
        new = 0
        while run == 0 and number <= scan.last:
            entry = ac[windows[place >> 3] >> 16 - (place & 7) & 0xFFFF]
            place += entry >> 8
            zeros, bits = entry >> 4 & 15, entry & 15
            if not entry or bits > 1 or place > size:
                return False
            if bits == 0 and zeros < 15:
                run = (1 << zeros) + (windows[place >> 3] >> 32 - zeros - (place & 7) & (1 << zeros) - 1)
                place += zeros
                break
            place += bits  # the sign of the new coefficient
            while number <= scan.last and (ahead := mask >> number & (2 << zeros) - 1):
                step = (ahead & -ahead).bit_length()  # past the next coefficient that is not zero
                number, zeros, place = number + step, zeros - step + 1, place + 1
            number += zeros
            if bits and number <= scan.last:
                new |= 1 << number
            number += 1
        if run:
            place += (mask >> number).bit_count()  # the rest of the block only gets its bits
            run -= 1
        masks[unit] |= new
    return place <= size
