"""The headers of a JPEG: its frame, its Huffman tables, and the scans with their compressed data (ITU-T T.81)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # one that ends compressed data
_STANDALONE = (0x01, *range(0xD0, 0xD9))  # markers without a length
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, with Huffman codes

Table = Sequence[int]  # for each 16 bits: the length of the code that they begin with x 256 + its symbol; 0: no code


@dataclass(frozen=True)
class Scan:
    """The components, tables and range of a scan, and its compressed data."""

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
class Jpeg:
    """What stands before the compressed data."""

    progressive: bool = False
    size: tuple[int, int] = (0, 0)  # pixels
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)  # across and down, by component
    interval: int = 0
    ended: bool = False  # there is an end marker
    tables: dict[int, Table] = field(default_factory=dict)
    scans: list[Scan] = field(default_factory=list)

    def begin(self, frame: bytes) -> None:
        """Take the header of a frame."""
        self.size = int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
        self.sampling = {frame[at]: (frame[at + 1] >> 4, frame[at + 1] & 15) for at in range(6, len(frame) - 2, 3)}

    def add(self, header: bytes, content: bytes) -> None:
        """Take the header of a scan and its compressed data."""
        count = header[0]
        chosen = [header[2 + 2 * number] for number in range(count)]
        first, last, bits = header[1 + 2 * count :][:3]
        self.scans.append(
            Scan(
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

    def units(self, scan: Scan) -> int:
        """Return the number of coded units: blocks of one component, or groups of blocks of several."""
        most = [max(factors) for factors in zip(*self.sampling.values())]
        own = self.sampling[scan.components[0]] if len(scan.components) == 1 else None
        units = 1
        for axis in range(2):
            side = self.size[axis] if own is None else -(-self.size[axis] * own[axis] // most[axis])
            units *= -(-side // (8 * most[axis] if own is None else 8))
        return units

    def blocks(self, scan: Scan) -> list[tuple[Table, Table]]:
        """Return the tables of each block of a unit."""
        pairs = []
        for component, *pair in zip(scan.components, scan.dc, scan.ac):
            across, down = (1, 1) if len(scan.components) == 1 else self.sampling[component]
            pairs += [(pair[0], pair[1])] * (across * down)
        return pairs


def has_end(data: bytes) -> bool:
    """Return whether a JPEG has an end marker after its scans; no for what cannot be followed."""
    try:
        return read_headers(data).ended
    except (IndexError, ValueError):
        return False


def read_headers(data: bytes) -> Jpeg:
    """Read up to the end marker or to the end of the data; raises ValueError or IndexError for what is no marker."""
    jpeg, place = Jpeg(), 2
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
