"""The application image: read from .elf, .hex or .bin and checked against the layout."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from packager import files
from packager.chip import KIB, Span
from packager.errors import FormatError, ImageError
from packager.layout import Layout
from packager.segments import fill, join
from packager.sniff import HEAD_SIZE, content_of
from packager.vectors import (
    VECTORS_SIZE,
    initial_sp,
    reset_handler,
    reset_is_plausible,
    sp_is_plausible,
    stack_ram,
)

MAX_SEGMENT_SIZE = 4096 * KIB
"""Bytes that one segment of an ELF file may load; its debug information may be of any size."""


class Image(NamedTuple):
    """An application that fits its layout: one run of bytes from the start of the app area."""

    address: int
    data: bytes
    segments: dict[int, bytes]


def load_image(path: Path, layout: Layout) -> Image:
    """Read an application and check that it can run where the layout puts it.

    A .bin has no address and is taken to start at the app area; gaps between segments are
    filled with 0xFF.

    Raises:
        FormatError: the file cannot be read as .elf, .hex or .bin.
        ImageError: linked elsewhere, too big, or its vectors cannot run.
    """
    where = str(path)
    pieces = read_pieces(path, layout.app.start)
    check_placement(pieces, layout, where)
    address, data = fill(pieces)
    check_size(data, layout, where)
    check_vectors(data, layout, where)
    return Image(address, data, pieces)


def read_pieces(path: Path, bin_address: int) -> dict[int, bytes]:
    """Return the pieces of an .elf, .hex or .bin by content; a .bin lies at ``bin_address``.

    Raises:
        FormatError: empty, larger than 4 MiB (what an ELF file loads), damaged, or neither.
    """
    where = str(path)
    content = content_of(_head(path))
    if content == "elf":
        return elf_segments(path)
    data = files.read_file(path)
    if content == "hex":
        from packager.hex_file import read_hex

        return read_hex(data, where)
    if content != "other":
        found = "is an update or DfuSe file"
        raise FormatError(where, found, "expected an application", "give the .elf, .hex or .bin")
    if path.suffix.lower() != ".bin":
        found = "neither ELF nor Intel HEX inside"
        raise FormatError(where, found, "expected an application", "name a plain binary .bin")
    return {bin_address: data}


def elf_segments(path: Path) -> dict[int, bytes]:
    """Return what an ELF file loads into memory, by load (physical) address.

    Raises:
        FormatError: damaged, not a 32-bit little-endian Arm executable, or it loads nothing.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    where, do = str(path), "build the file again"
    try:
        with path.open("rb") as file:
            pieces = list(_load_segments(ELFFile(file), file, where))
    except OSError as error:
        raise files.unreadable(path, error) from error
    # pyelftools lets these through where a header is damaged.
    except (ELFError, struct.error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise FormatError(where, f"damaged ELF file ({error})", "", do) from error
    except (AssertionError, OverflowError, UnicodeError, MemoryError) as error:
        raise FormatError(where, "damaged ELF file", "", do) from error
    joined = join(pieces, where)
    if not joined:
        raise FormatError(where, "ELF file that loads nothing", "expected a linked program", do)
    return joined


def check_placement(pieces: dict[int, bytes], layout: Layout, where: str) -> None:
    """Return only if all data lies in the app area, from its first byte on.

    Raises:
        ImageError: linked for another address, or something lies outside.
    """
    app = layout.app
    in_flash = [address for address in sorted(pieces) if layout.chip.bank_of(address)]
    start = in_flash[0] if in_flash else min(pieces)
    if start != app.start:
        raise ImageError(
            where,
            f"is linked for 0x{start:08X}",
            f"app area starts at 0x{app.start:08X}",
            f"set FLASH ORIGIN in your linker script to 0x{app.start:08X}",
        )
    for address, data in pieces.items():
        if not app.contains(address):
            raise ImageError(
                where,
                f"{len(data)} bytes at 0x{address:08X}",
                f"app area is 0x{app.start:08X}..0x{app.end - 1:08X}",
                _how_to_move(address, layout),
            )


def check_size(data: bytes, layout: Layout, where: str) -> None:
    """Return only if the image can be updated with this layout.

    Raises:
        ImageError: too big, with the share of the largest image.
    """
    largest = layout.largest_image
    if len(data) > largest:
        raise ImageError(
            where,
            f"image is {len(data)} bytes ({100 * len(data) / largest:.1f} % of the largest)",
            f"this layout takes {largest}",
            f"shrink the image by {len(data) - largest} bytes or enlarge 'app' and 'staging'",
        )


def check_vectors(data: bytes, layout: Layout, where: str) -> None:
    """Return only if the image starts with a vector table that can run.

    Raises:
        ImageError: too short, initial SP outside RAM, reset handler elsewhere or not Thumb.
    """
    if len(data) < VECTORS_SIZE:
        found = f"image is {len(data)} bytes"
        raise ImageError(where, found, "expected at least a vector table", "check the build")
    sp, reset, start = initial_sp(data), reset_handler(data), layout.app.start
    if not sp_is_plausible(data, layout.chip):
        areas = ", ".join(_range(ram.name, ram.span) for ram in stack_ram(layout.chip))
        raise ImageError(
            where,
            f"initial SP is 0x{sp:08X}",
            f"expected 8-byte aligned in {areas}, the end included",
            "let the vector table come first and check _estack in your linker script",
        )
    if not reset & 1:
        raise ImageError(
            where,
            f"reset handler is 0x{reset:08X} without Thumb bit",
            "expected an odd address",
            "mark Reset_Handler as a Thumb function (.thumb_func)",
        )
    if not reset_is_plausible(data, start):
        raise ImageError(
            where,
            f"reset handler is 0x{reset:08X}",
            f"image is {_range('', Span(start, len(data)))}",
            f"set FLASH ORIGIN in your linker script to 0x{start:08X}",
        )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_SIZE)
    except OSError as error:
        raise files.unreadable(path, error) from error


def _load_segments(elf: Any, file: BinaryIO, where: str) -> Iterator[tuple[int, bytes]]:
    kind = (elf.elfclass, elf.little_endian, elf["e_machine"], elf["e_type"])
    if kind != (32, True, "EM_ARM", "ET_EXEC"):
        found = f"ELF file of {elf.elfclass} bits, {elf['e_machine']}, {elf['e_type']}"
        raise FormatError(where, found, "expected a linked program for Arm", "give the .elf")
    for segment in elf.iter_segments():
        size = segment["p_filesz"]
        if segment["p_type"] != "PT_LOAD" or not size:
            continue
        if size > MAX_SEGMENT_SIZE:
            found = f"segment of {size} bytes"
            raise FormatError(
                where, found, f"expected at most {MAX_SEGMENT_SIZE}", "build the file again"
            )
        file.seek(segment["p_offset"])
        data = file.read(size)
        if len(data) < size:
            found = f"truncated, {len(data)} of {size} bytes of a segment"
            raise FormatError(where, found, "", "build or copy the file again")
        yield segment["p_paddr"], data


def _how_to_move(address: int, layout: Layout) -> str:
    if layout.chip.ram_of(address):
        return "give RAM sections a load address in flash (AT> FLASH)"
    if layout.chip.bank_of(address):
        return "keep the program inside the app area"
    return "leave option bytes and other memories out of the file"


def _range(name: str, span: Span) -> str:
    return f"{name} 0x{span.start:08X}..0x{span.end - 1:08X}".strip()
