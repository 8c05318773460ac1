"""Tell whether a JPEG that lacks its end marker has all its compressed data, by following its Huffman codes to the end.

A decoder cannot tell: where bits are missing it invents some, and often gives the same pixels for any of them. ITU-T
T.81 defines the format. Baseline and progressive files are followed; their pixels are not computed.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lmm_classifier.data.decoding.jpeg_headers import Jpeg, Scan, Table, read_headers

_MOST_BYTES = 4 << 20  # of a file; following its codes takes about 1.5 s then
_MOST_REFINED_BYTES = 2 << 20  # where several scans are followed
_MOST_BLOCKS = 1_500_000  # in all scans that are followed
_MOST_CODES = 7_000_000
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")


def is_complete(data: bytes) -> bool:
    """Return whether a JPEG without an end marker has all its compressed data; no for what cannot be followed."""
    if len(data) > _MOST_BYTES:
        return False
    try:
        jpeg = read_headers(data)
        if jpeg.ended or not jpeg.scans or not data.endswith(jpeg.scans[-1].content) or jpeg.lacks_a_scan():
            return False
        scan = jpeg.scans[-1]
        if jpeg.progressive and scan.high and scan.first:
            return _refinement_is_complete(jpeg)
        return _follow(jpeg, scan, None, len(_parts(scan)) - 1)
    except (IndexError, KeyError, ValueError, ZeroDivisionError):
        return False


def _parts(scan: Scan) -> list[bytes]:
    return _RESTART.split(scan.content)


def _units_of(jpeg: Jpeg, scan: Scan, number: int) -> tuple[int, int]:
    """Return the first and the end of the units between two restarts; raises ValueError for a wrong count."""
    units = jpeg.units(scan)
    interval = scan.interval or units
    if len(_parts(scan)) != -(-units // interval) or units * len(jpeg.blocks(scan)) > _MOST_BLOCKS:
        raise ValueError("another number of restarts than the header says, or too many blocks")
    return number * interval, min((number + 1) * interval, units)


def _follow(jpeg: Jpeg, scan: Scan, masks: list[int] | None, number: int) -> bool:
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


def _follow_ac(units: range, scan: Scan, windows: memoryview, size: int, masks: list[int] | None) -> bool:
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


def _refinement_is_complete(jpeg: Jpeg) -> bool:
    """Return whether a last scan that refines AC is complete; its length depends on the scans before it."""
    last = jpeg.scans[-1]
    history = [scan for scan in jpeg.scans if scan.components == last.components and scan.first]
    units = jpeg.units(last)
    if units * len(history) > _MOST_BLOCKS or sum(len(scan.content) for scan in history) > _MOST_REFINED_BYTES:
        return False
    masks = [0] * units
    return all(_follow(jpeg, scan, masks, number) for scan in history for number in range(len(_parts(scan))))


def _follow_refinement(units: range, scan: Scan, windows: memoryview, size: int, masks: list[int]) -> bool:
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
