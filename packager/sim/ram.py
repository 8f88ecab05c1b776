"""The RAM of the chip: what it holds after power-on, across resets, and after the ROM ran."""

from __future__ import annotations

from functools import cache
from random import Random

from packager.chip import Chip

ITCM, DTCM, AXI_SRAM, BKPSRAM = 0x0000_0000, 0x2000_0000, 0x2400_0000, 0x3880_0000
ROM_DTCM_USED = 16 * 1024
"""Bytes from 0x20000000 that the ROM overwrites (AN2606)."""


@cache
def _noise(size: int) -> bytes:
    return Random("RAM after power-on").randbytes(size)


class Rams:
    """Every RAM region by its start address, as buffers that stay the same for life."""

    def __init__(self, chip: Chip) -> None:
        self.spans = [ram.span for ram in chip.ram]
        self.buffers = {span.start: bytearray(span.size) for span in self.spans}

    def power_on(self) -> None:
        """Fill everything with garbage, the same every time."""
        for span in self.spans:
            self.buffers[span.start][:] = _noise(span.size)

    def rom_ran(self, axi_bytes: int) -> None:
        """Overwrite what the ROM bootloader uses."""
        self.buffers[DTCM][:ROM_DTCM_USED] = _noise(ROM_DTCM_USED)
        self.buffers[AXI_SRAM][:axi_bytes] = _noise(axi_bytes)

    def read(self, address: int, size: int) -> bytes | None:
        """Return ``size`` bytes at ``address``, None if that is not wholly in one RAM."""
        for span in self.spans:
            if span.contains(address, size):
                at = address - span.start
                return bytes(self.buffers[span.start][at : at + size])
        return None

    def write(self, address: int, data: bytes) -> bool:
        """Put ``data`` at ``address``; False if that is not wholly in one RAM."""
        for span in self.spans:
            if span.contains(address, len(data)):
                at = address - span.start
                self.buffers[span.start][at : at + len(data)] = data
                return True
        return False

    def wipe(self, start: int) -> None:
        """Zero the RAM that starts at ``start``, if the chip has it."""
        if start in self.buffers:
            self.buffers[start][:] = bytes(len(self.buffers[start]))
