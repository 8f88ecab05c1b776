"""What can be read in system memory: the ROM's vectors and version, unique id, flash size."""

from __future__ import annotations

import struct

from packager.chip import Chip

BASE = 0x1FF0_0000
SIZE = 0x2_0000
ROM_VECTORS = 0x1FF0_9800
"""MSP and entry of the ROM bootloader (AN2606)."""
ROM_ENTRY = 0x1FF0_9AB8
ROM_STACK = 0x2000_0EA8
ROM_ID = 0x1FF1_E7FE


def render(chip: Chip, rom_id: int, uid: bytes) -> bytes:
    """Return the 128 KiB from 0x1FF00000."""
    memory = bytearray(SIZE)

    def put(address: int, data: bytes) -> None:
        memory[address - BASE : address - BASE + len(data)] = data

    put(BASE, struct.pack("<II", ROM_STACK, ROM_ENTRY | 1))
    put(ROM_VECTORS, struct.pack("<II", ROM_STACK, ROM_ENTRY | 1))
    put(ROM_ID, bytes((rom_id,)))
    put(chip.unique_id.start, uid)
    put(chip.flash_size_register, struct.pack("<H", chip.flash_kib))
    return bytes(memory)
