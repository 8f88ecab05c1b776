"""The versions of the STM32H743 ROM bootloader, as data (AN2606 tables of the H74x, field reports).

The id is the byte 0x1FF1E7FE. What is not known is treated as bad as the worst that is.
"""

from __future__ import annotations

from dataclasses import dataclass

ROM_ID_ADDRESS = 0x1FF1_E7FE
ROM_ID_SIZE = 2

WORST_ERASE_SECONDS = 4.0
"""Longest erase of a 128 KiB sector in the datasheet (x8 parallelism)."""


@dataclass(frozen=True)
class RomVersion:
    """One version of the ROM and how it erases bank 2."""

    id: int | None
    name: str
    stays_busy_after_bank2_erase: bool
    answers_before_bank2_erase_ends: bool

    @property
    def is_doubtful_in_bank2(self) -> bool:
        """Tell whether its word on an erase in bank 2 cannot be taken."""
        return self.stays_busy_after_bank2_erase or self.answers_before_bank2_erase_ends

    @property
    def remark(self) -> str:
        """What a person may want to know of it, empty if nothing."""
        return _REMARKS.get(self.id, _UNKNOWN_REMARK)


_UNKNOWN_REMARK = "not known to us, so splitflash waits and checks as for the worst one we know"
_REMARKS: dict[int | None, str] = {
    0xD2: "",
    0xD3: "nothing is reported of its erases in bank 2, so splitflash waits and checks there",
    0x90: "stays busy for ever after an erase in bank 2: splitflash frees it, dfu-util hangs; some"
    " boards need one press of reset after power-on before they show up on USB",
    0x91: "answers before an erase in bank 2 has ended: splitflash waits, dfu-util may hang",
    0x92: "",
}

UNKNOWN_ROM = RomVersion(None, "unknown", True, True)
NO_ROM = RomVersion(None, "not in use", False, False)
"""Stands for the ROM where a loader of ours answers itself."""

ROM_VERSIONS = {
    rom.id: rom
    for rom in (
        RomVersion(0xD2, "V13.2", False, False),
        RomVersion(0xD3, "V13.3", True, True),
        RomVersion(0x90, "V9.0", True, False),
        RomVersion(0x91, "V9.1", False, True),
        RomVersion(0x92, "V9.2", False, False),
    )
}
"""0xD3 was never reported either way, so it counts as bad."""


def rom_version(data: bytes) -> RomVersion:
    """Return the version for the bytes read at ``ROM_ID_ADDRESS``."""
    rom_id = data[0]
    return ROM_VERSIONS.get(rom_id, RomVersion(rom_id, f"unknown (id 0x{rom_id:02X})", True, True))
