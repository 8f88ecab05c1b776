"""Makes small ELF files for tests, byte by byte, so that no compiler is needed."""

from __future__ import annotations

import struct
from dataclasses import dataclass

EM_ARM, ET_EXEC, PT_LOAD = 40, 2, 1
HEADER_SIZE, SEGMENT_SIZE = 52, 32


@dataclass(frozen=True)
class Segment:
    """One program header and its data."""

    load_address: int
    data: bytes
    run_address: int | None = None
    type: int = PT_LOAD
    memory_size: int | None = None


def make_elf(*segments: Segment, machine: int = EM_ARM, kind: int = ET_EXEC) -> bytes:
    """Return a 32-bit little-endian ELF file of these segments."""
    ident = b"\x7fELF" + bytes([1, 1, 1]) + bytes(9)
    header = ident + struct.pack(
        "<HHIIIIIHHHHHH",
        kind,
        machine,
        1,
        segments[0].load_address if segments else 0,
        HEADER_SIZE,
        0,
        0x0500_0200,
        HEADER_SIZE,
        SEGMENT_SIZE,
        len(segments),
        40,
        0,
        0,
    )
    at = HEADER_SIZE + SEGMENT_SIZE * len(segments)
    table = body = b""
    for segment in segments:
        run = segment.load_address if segment.run_address is None else segment.run_address
        size = len(segment.data) if segment.memory_size is None else segment.memory_size
        table += struct.pack(
            "<8I",
            segment.type,
            at + len(body),
            run,
            segment.load_address,
            len(segment.data),
            size,
            5,
            4,
        )
        body += segment.data
    return header + table + body
