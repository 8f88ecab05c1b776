"""Reads the alternate-setting names in which a DfuSe device describes its memory (UM0424 4.3.2).

    @Internal Flash   /0x08000000/16*128Kg        @Flash/0x08000000/04*016Kg,01*064Kg,07*128Kg

Reading is liberal where devices in the field are (spaces, a missing unit), and any text that
follows no such grammar is a DeviceError, never another exception.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntFlag

from packager.chip import KIB, Span
from packager.errors import DeviceError

ADDRESS_SPACE = 1 << 32


class Access(IntFlag):
    """What the letter behind a sector size allows: its low three bits."""

    READ = 1
    ERASE = 2
    WRITE = 4


@dataclass(frozen=True)
class Segment:
    """Equal sectors in a row with the same rights."""

    start: int
    count: int
    sector_size: int
    access: Access

    @property
    def span(self) -> Span:
        """The addresses of all its sectors."""
        return Span(self.start, self.count * self.sector_size)


@dataclass(frozen=True)
class MemoryMap:
    """One alternate setting's memory."""

    name: str
    segments: tuple[Segment, ...]

    def allows(self, span: Span, access: Access) -> bool:
        """Tell whether every address of ``span`` lies in a segment with these rights."""
        address = span.start
        while address < span.end:
            segment = next((s for s in self.segments if s.span.contains(address)), None)
            if segment is None or access not in segment.access:
                return False
            address = segment.span.end
        return True

    def text(self) -> str:
        """Write the map in the grammar it was read from."""
        parts = [f"@{self.name}"]
        for segment in self.segments:
            letter = chr(ord("`") + segment.access)
            parts.append(
                f"/0x{segment.start:08X}/{segment.count:02d}*{segment.sector_size:03d}B{letter}"
            )
        return " ".join(parts)


_UNITS = {"": 1, " ": 1, "B": 1, "K": KIB, "M": KIB * KIB}
_SECTORS = re.compile(r"\s*(\d{1,9})\s*\*\s*(\d{1,9})\s*([BKM]?)\s*([a-g])\s*", re.ASCII | re.I)
_ADDRESS = re.compile(r"\s*0x([0-9a-f]{1,8})\s*", re.ASCII | re.I)


def parse_memory_map(text: str) -> MemoryMap:
    """Read one alternate-setting name.

    Raises:
        DeviceError: the text does not follow the grammar.
    """
    if not text.startswith("@"):
        raise _unreadable(text, "it does not start with '@'")
    name, *rest = text[1:].split("/")
    if not rest or len(rest) % 2:
        raise _unreadable(text, "it is not a name followed by pairs of address and sectors")
    segments: list[Segment] = []
    for address, sectors in zip(rest[::2], rest[1::2], strict=True):
        segments.extend(_segments(text, address, sectors))
    return MemoryMap(name.strip(), tuple(segments))


def _segments(text: str, address: str, sectors: str) -> list[Segment]:
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise _unreadable(text, f"'{address.strip()}' is no address")
    at = int(match[1], 16)
    found = []
    for part in sectors.split(","):
        match = _SECTORS.fullmatch(part)
        if not match:
            raise _unreadable(text, f"'{part.strip()}' is not of the form 16*128Kg")
        count, size = int(match[1]), int(match[2]) * _UNITS[match[3].upper()]
        if not count or not size or at + count * size > ADDRESS_SPACE:
            raise _unreadable(text, f"'{part.strip()}' is empty or beyond the address space")
        found.append(Segment(at, count, size, Access(ord(match[4].lower()) & 7)))
        at += count * size
    return found


def _unreadable(text: str, why: str) -> DeviceError:
    return DeviceError(
        f"memory map {text[:100]!r}",
        why,
        "expected for example '@Internal Flash /0x08000000/16*128Kg'",
        "this is no DfuSe device we know; choose another with --device",
    )
