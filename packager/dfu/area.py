"""Reads a whole area of a device and says where it differs from what it should hold."""

from __future__ import annotations

from dataclasses import dataclass

from packager.chip import FLASH_WORD, KIB, Span
from packager.dfu.pipe import Progress, silent
from packager.dfu.protocol import DfuSe
from packager.dfu.replies import RequestRefusedError

PIECE = 16 * KIB
"""Bytes read at once; where that fails, it is tried word by word."""
SHOWN = 8
"""Bytes of a difference that are shown."""
BLANK_WORD = b"\xff" * FLASH_WORD


@dataclass(frozen=True)
class Difference:
    """The first flash bytes that are not as expected; ``found`` is None where reading fails."""

    address: int
    found: bytes | None
    expected: bytes
    count: int
    """Bytes that differ in all; an unreadable flash word counts as a whole."""

    @property
    def place(self) -> str:
        """Say where it is, and show nothing of what is there."""
        if self.found is None:
            return f"0x{self.address:08X} cannot be read (a torn or worn flash word)"
        many = f"{self.count} bytes differ, the first" if self.count > 1 else "1 byte differs,"
        return f"{many} at 0x{self.address:08X}"

    def __str__(self) -> str:
        return self.place if self.found is None else f"{self.place}: {self.found.hex()}"


@dataclass(frozen=True)
class Area:
    """An area as the device has it; words that cannot be read are blank here, and listed."""

    span: Span
    data: bytes
    unreadable: frozenset[int]

    def compared(self, expected: bytes) -> Difference | None:
        """Return the difference to ``expected`` with nothing but blank flash behind it."""
        wanted = expected.ljust(self.span.size, b"\xff")
        bad = [at for at in range(0, self.span.size, FLASH_WORD) if self._count(at, wanted)]
        if not bad:
            return None
        count = sum(self._count(at, wanted) for at in bad)
        at = bad[0]
        if self.span.start + at in self.unreadable:
            return Difference(self.span.start + at, None, wanted[at : at + SHOWN], count)
        at = next(n for n in range(at, self.span.size) if self.data[n] != wanted[n])
        shown = slice(at, at + SHOWN)
        return Difference(self.span.start + at, self.data[shown], wanted[shown], count)

    def _count(self, at: int, wanted: bytes) -> int:
        """Return how many bytes of the flash word at an offset are not as they should be."""
        if self.span.start + at in self.unreadable:
            return FLASH_WORD
        found, expected = self.data[at : at + FLASH_WORD], wanted[at : at + FLASH_WORD]
        return sum(a != b for a, b in zip(found, expected, strict=True)) if found != expected else 0


def read_area(device: DfuSe, span: Span, phase: str, progress: Progress = silent) -> Area:
    """Read all of an area, past words that cannot be read.

    Raises:
        ProtectedError: the device is read-protected.
        DeviceError: it stopped answering.
    """
    pieces, unreadable = [], set()
    for at in range(span.start, span.end, PIECE):
        try:
            pieces.append(device.upload(at, PIECE))
        except RequestRefusedError:
            words = {a: _word(device, a) for a in range(at, at + PIECE, FLASH_WORD)}
            pieces += [word or BLANK_WORD for word in words.values()]
            unreadable |= {address for address, word in words.items() if word is None}
        progress(phase, at + PIECE - span.start, span.size)
    return Area(span, b"".join(pieces), frozenset(unreadable))


def _word(device: DfuSe, address: int) -> bytes | None:
    try:
        return device.upload(address, FLASH_WORD)
    except RequestRefusedError:
        return None
