"""What the ROM's USB device says about itself: descriptors, strings, serial (AN2606, AN3156)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from packager.chip import DEV_ID
from packager.dfu.constants import PRODUCT_ID, VENDOR_ID

TRANSFER_SIZE = 1024
"""wTransferSize of the H743 ROM in bytes."""
ALT_NAMES = (
    "@Internal Flash   /0x08000000/16*128Kg",
    "@Option Bytes   /0x5200201C/01*128 e",
)
FUNCTIONAL_DESCRIPTOR = struct.pack("<BBBHHH", 9, 0x21, 0x0B, 255, TRANSFER_SIZE, 0x011A)
BCD_DEVICE = 0x0200
_MANUFACTURER, _PRODUCT, _SERIAL, _FIRST_ALT = 1, 2, 3, 4


@dataclass(frozen=True)
class RomVersion:
    """One version of the bootloader in system memory, by the byte at 0x1FF1E7FE."""

    rom_id: int
    name: str
    revision: int
    """DBGMCU_IDCODE.REV_ID of the silicon it comes with."""
    wedges_on_bank2_erase: bool = False
    """Answers dfuDNBUSY for ever after an erase in bank 2."""
    answers_during_bank2_erase: bool = False
    """Says it is done while bank 2 is still being erased, and hangs on the next flash command."""
    mass_erase_works: bool = True
    locks_power_register: bool = False
    """Leaves PWR_CR3 locked until power-off."""
    axi_sram_used: int = 208 * 1024
    """Bytes from 0x24000000 that the ROM overwrites."""


ROM_VERSIONS = {
    version.rom_id: version
    for version in (
        RomVersion(0xD2, "V13.2", 0x1003),
        RomVersion(0xD3, "V13.3", 0x1003, mass_erase_works=False),
        RomVersion(0x90, "V9.0", 0x2003, wedges_on_bank2_erase=True, locks_power_register=True),
        RomVersion(0x91, "V9.1", 0x2003, answers_during_bank2_erase=True, axi_sram_used=20 * 1024),
        RomVersion(0x92, "V9.2", 0x2003),
    )
}


def serial_number(version: RomVersion) -> str:
    """Return the serial: DBGMCU_IDCODE and four zeros, the same on every board of a revision."""
    return f"{version.revision << 16 | 0x6000 | DEV_ID:08X}0000"


def device_descriptor() -> bytes:
    """Return the 18 bytes of the device descriptor."""
    return struct.pack(
        "<BBHBBBBHHHBBBB",
        18,
        1,
        0x0100,
        0,
        0,
        0,
        64,
        VENDOR_ID,
        PRODUCT_ID,
        BCD_DEVICE,
        _MANUFACTURER,
        _PRODUCT,
        _SERIAL,
        1,
    )


def interface_descriptor(alt: int) -> bytes:
    """Return the 9 bytes of interface 0, alternate setting ``alt``."""
    return bytes((9, 4, 0, alt, 0, 0xFE, 1, 2, _FIRST_ALT + alt))


def configuration_descriptor() -> bytes:
    """Return the whole configuration; the functional descriptor follows the last alt."""
    body = b"".join(interface_descriptor(alt) for alt in range(len(ALT_NAMES)))
    body += FUNCTIONAL_DESCRIPTOR
    return struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), 1, 1, 0, 0xC0, 50) + body


def string_descriptor(index: int, version: RomVersion) -> bytes | None:
    """Return string ``index`` as it goes over the wire, None if there is none."""
    if index == 0:
        return struct.pack("<BBH", 4, 3, 0x0409)
    texts = ("STMicroelectronics", "DFU in FS Mode", serial_number(version), *ALT_NAMES)
    if index > len(texts):
        return None
    raw = texts[index - 1].encode("utf-16-le")
    return bytes((2 + len(raw), 3)) + raw
