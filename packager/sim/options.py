"""Option bytes of the chip: read-out protection, write protection, boot addresses (RM0433 4.4)."""

from __future__ import annotations

from dataclasses import dataclass, replace

RDP_LEVEL_0 = 0xAA
RDP_LEVEL_1 = 0x55
"""Any byte but 0xAA and 0xCC is level 1; this is the one vendors write."""
RDP_LEVEL_2 = 0xCC
_RDP_SHIFT = 8
_BOR_SHIFT = 2
IWDG_SOFTWARE = 1 << 4
"""OPTSR.IWDG1_SW: when clear, the watchdog runs from power-on."""
OPTCHANGEERR = 1 << 30


@dataclass(frozen=True)
class OptionBytes:
    """The option words as they stand in the registers; pairs are (bank 1, bank 2).

    The factory value of OPTSR is that of the dual-core sibling without the bits this chip lacks.
    """

    optsr: int = 0x1406_AAD0
    boot: int = 0x1FF0_0800
    prar: tuple[int, int] = (0x0FF, 0x0FF)
    scar: tuple[int, int] = (0x0FF, 0x0FF)
    wpsn: tuple[int, int] = (0xFF, 0xFF)

    @property
    def rdp_level(self) -> int:
        """Read-out protection level 0, 1 or 2."""
        byte = self.optsr >> _RDP_SHIFT & 0xFF
        return {RDP_LEVEL_0: 0, RDP_LEVEL_2: 2}.get(byte, 1)

    def with_rdp(self, byte: int) -> OptionBytes:
        """Return these options with another RDP byte."""
        return replace(self, optsr=self.optsr & ~(0xFF << _RDP_SHIFT) | byte << _RDP_SHIFT)

    def with_brown_out_level(self, level: int) -> OptionBytes:
        """Return these options with another BOR_LEV, 0 to 3."""
        return replace(self, optsr=self.optsr & ~(3 << _BOR_SHIFT) | level << _BOR_SHIFT)

    def with_write_protection(self, bank: int, sectors: set[int]) -> OptionBytes:
        """Return these options with exactly ``sectors`` of ``bank`` (1 or 2) write-protected."""
        mask = 0xFF & ~sum(1 << sector for sector in sectors)
        pair = (mask, self.wpsn[1]) if bank == 1 else (self.wpsn[0], mask)
        return replace(self, wpsn=pair)

    def with_watchdog(self, *, from_power_on: bool) -> OptionBytes:
        """Return these options with the independent watchdog started by hardware, or not."""
        software = 0 if from_power_on else IWDG_SOFTWARE
        return replace(self, optsr=self.optsr & ~IWDG_SOFTWARE | software)

    def protects(self, bank: int, sector: int) -> bool:
        """Tell whether ``sector`` of bank 1 or 2 is write-protected."""
        return not self.wpsn[bank - 1] >> sector & 1

    @property
    def watchdog_from_power_on(self) -> bool:
        """Tell whether the independent watchdog runs without being started."""
        return not self.optsr & IWDG_SOFTWARE

    def boot_address(self, *, boot0: bool) -> int:
        """Return where the core takes its vectors from."""
        half = self.boot >> 16 if boot0 else self.boot & 0xFFFF
        return half << 16
