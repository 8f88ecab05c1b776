"""Pieces of memory as ``{address: bytes}``: joined, checked for overlap, filled into one run."""

from __future__ import annotations

from collections.abc import Iterable

from packager.errors import FormatError

ADDRESS_SPACE = 1 << 32
"""Bytes; no piece may reach beyond."""
BLANK = 0xFF
"""What erased flash reads."""


def join(pieces: Iterable[tuple[int, bytes]], where: str) -> dict[int, bytes]:
    """Return pieces in ascending order, touching ones joined, empty ones dropped.

    Raises:
        FormatError: two of them share an address, or one reaches beyond 32 bits.
    """
    runs: list[tuple[int, list[bytes]]] = []
    end = 0
    for address, data in sorted(pieces, key=lambda piece: piece[0]):
        if not data:
            continue
        if address + len(data) > ADDRESS_SPACE:
            found = f"data at 0x{address:08X} reaches beyond 32-bit addresses"
            raise FormatError(where, found, "", "build the file again")
        if runs and address < end:
            found = f"two pieces of data at 0x{address:08X}"
            raise FormatError(where, found, "expected one", "build the file again")
        if not runs or address > end:
            runs.append((address, []))
        runs[-1][1].append(data)
        end = address + len(data)
    return {address: b"".join(parts) for address, parts in runs}


def fill(pieces: dict[int, bytes]) -> tuple[int, bytes]:
    """Return the first address and one run from there on, gaps filled with 0xFF.

    The caller has bounded the span: it is built in memory.
    """
    start = min(pieces)
    end = max(address + len(data) for address, data in pieces.items())
    run = bytearray([BLANK]) * (end - start)
    for address, data in pieces.items():
        run[address - start : address - start + len(data)] = data
    return start, bytes(run)
