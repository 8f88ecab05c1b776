"""Reads a built loader: its one run of bytes, and the info block at its fixed place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from packager.chip import BOOT_ADDRESS, SECTOR_SIZE, Span
from packager.errors import FormatError
from packager.format import INFO_OFFSET, INFO_SIZE
from packager.image import elf_segments
from packager.records import InfoBlock, parse_info
from packager.segments import fill

_SECTOR = Span(BOOT_ADDRESS, SECTOR_SIZE)


@dataclass(frozen=True)
class LoaderFile:
    """A built loader: bytes from ``BOOT_ADDRESS`` on, and what it says of itself."""

    name: str
    data: bytes
    info: InfoBlock


def read_loader(path: Path) -> LoaderFile:
    """Read a loader ELF.

    Raises:
        FormatError: no ELF, no info block, or bytes outside the loader's sector.
    """
    return loader_of(elf_segments(path), str(path))


def loader_of(segments: dict[int, bytes], where: str) -> LoaderFile:
    """Return the loader in the segments of an ELF; whatever they are, no more than a sector.

    Raises:
        FormatError: they hold none.
    """
    if any(not _SECTOR.contains(address, len(data)) for address, data in segments.items()):
        raise _no_loader(where, f"bytes outside 0x{_SECTOR.start:08X}..0x{_SECTOR.end - 1:08X}")
    _, data = fill({BOOT_ADDRESS: b"", **segments})
    try:
        info = parse_info(data[INFO_OFFSET : INFO_OFFSET + INFO_SIZE], where)
    except FormatError as error:
        place = f"no info block at 0x{BOOT_ADDRESS + INFO_OFFSET:08X}"
        raise _no_loader(where, f"{place} ({error.found})") from error
    return LoaderFile(where, data, info)


def _no_loader(where: str, found: str) -> FormatError:
    do = "give the .elf made by 'splitflash loader build'"
    return FormatError(where, f"no splitflash loader: {found}", "", do)
