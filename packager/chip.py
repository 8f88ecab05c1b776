"""The chips splitflash knows, as data (RM0433 sections 2 and 4).

Adding a chip is adding one entry to :data:`CHIPS`: its name, flash size in KiB and RAM. It must
have the flash of RM0433 chapter 4 (banks at these addresses, 128 KiB sectors, words of 32 bytes),
the same DEV_ID, and the same peripherals where the loader uses them.
"""

from __future__ import annotations

from typing import NamedTuple

KIB = 1024
SECTOR_SIZE = 128 * KIB
"""Unit of erase in bytes (RM0433 4.3.10)."""
FLASH_WORD = 32
"""Unit of program in bytes: 256 bits, one ECC, programmed once between erases (RM0433 4.3.9)."""
DEV_ID = 0x450
"""DBGMCU_IDCODE.DEV_ID of the H742/743/753."""
BOOT_ADDRESS = 0x0800_0000
"""Where the core boots from with BOOT0 low and factory option bytes."""

RTC_BACKUP = 0x5800_4050
"""RTC_BKP0R; 32 registers of 4 bytes that a reset leaves alone (RM0433 46.6.20)."""
RTC_BACKUP_COUNT = 32


class Span(NamedTuple):
    """A half-open run of addresses ``start <= a < end``, in bytes."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """First address behind the span."""
        return self.start + self.size

    def contains(self, address: int, size: int = 1) -> bool:
        """Tell whether ``size`` bytes at ``address`` lie wholly inside."""
        return self.start <= address and size <= self.end - address

    def overlaps(self, other: Span) -> bool:
        """Tell whether the spans share an address."""
        return self.start < other.end and other.start < self.end


class Ram(NamedTuple):
    """One RAM region of the chip."""

    name: str
    span: Span


class Chip(NamedTuple):
    """What splitflash has to know of a chip."""

    name: str
    flash_kib: int
    banks: tuple[Span, Span]
    ram: tuple[Ram, ...]
    unique_id: Span = Span(0x1FF1_E800, 12)
    """96 bits that no other chip has (RM0433, device electronic signature)."""
    flash_size_register: int = 0x1FF1_E880
    """Address of 16 bits: the flash size in KiB (the same chapter)."""

    @property
    def chip_id(self) -> int:
        """The ``chip`` field of header and info block: flash KiB above, DEV_ID in the low half."""
        return self.flash_kib << 16 | DEV_ID

    @property
    def sectors_per_bank(self) -> int:
        """Number of 128 KiB sectors in each bank."""
        return self.banks[0].size // SECTOR_SIZE

    def bank_of(self, address: int) -> int | None:
        """Return 1 or 2 for an address in user flash, else None."""
        for number, bank in enumerate(self.banks, start=1):
            if bank.contains(address):
                return number
        return None

    def sectors_of(self, span: Span) -> tuple[tuple[int, int], ...]:
        """Return bank (1 or 2) and number within it of every sector that ``span`` touches."""
        return tuple(
            (number, (address - bank.start) // SECTOR_SIZE)
            for number, bank in enumerate(self.banks, start=1)
            for address in range(bank.start, bank.end, SECTOR_SIZE)
            if span.overlaps(Span(address, SECTOR_SIZE))
        )

    def ram_of(self, address: int) -> Ram | None:
        """Return the RAM region that holds ``address``, else None."""
        return next((ram for ram in self.ram if ram.span.contains(address)), None)


# RM0433 table 7 (memory map). All have ITCM, DTCM, SRAM4 and backup SRAM alike.
def _ram(axi_kib: int, d2: Ram) -> tuple[Ram, ...]:
    return (
        Ram("ITCM", Span(0x0000_0000, 64 * KIB)),
        Ram("DTCM", Span(0x2000_0000, 128 * KIB)),
        Ram("AXI SRAM", Span(0x2400_0000, axi_kib * KIB)),
        d2,
        Ram("SRAM4", Span(0x3800_0000, 64 * KIB)),
        Ram("BKPSRAM", Span(0x3880_0000, 4 * KIB)),
    )


_H743_RAM = _ram(512, Ram("SRAM1-3", Span(0x3000_0000, 288 * KIB)))
_H742_RAM = _ram(384, Ram("SRAM1", Span(0x3000_0000, 32 * KIB)))


def h743_like(name: str, flash_kib: int, ram: tuple[Ram, ...] = _H743_RAM) -> Chip:
    """Return a chip with the H743's flash of another size, and its RAM or another.

    Args:
        name: Lower case, ``x`` in place of the package letter.
        flash_kib: Size of both banks together; a multiple of 256.
        ram: As in RM0433 table 7.
    """
    # Both banks keep their base: the 1 MB parts have a hole between them (RM0433 table 15).
    bank_size = flash_kib * KIB // 2
    banks = (Span(0x0800_0000, bank_size), Span(0x0810_0000, bank_size))
    return Chip(name, flash_kib, banks, ram)


CHIPS = {
    chip.name: chip
    for chip in (
        h743_like("stm32h743xi", 2048),
        h743_like("stm32h743xg", 1024),
        h743_like("stm32h753xi", 2048),
        h743_like("stm32h742xi", 2048, _H742_RAM),
        h743_like("stm32h742xg", 1024, _H742_RAM),
    )
}
"""Every known chip by its lower-case name."""

_TWO_CORES = ("it has a second core, which starts by itself", "use an H742, H743 or H753")
_ONE_BANK = ("its flash has one bank, and the loader works across two", "use an H742, H743 or H753")
_SMALL_SECTORS = (
    "its flash has sectors of 8 KiB and words of 16 bytes, for which the loader is not made",
    "use an H742, H743 or H753",
)

UNSUPPORTED = {
    "stm32h753xg": ("the STM32H753 is made with 2 MB only", "did you mean 'stm32h753xi'?"),
    "stm32h750": (
        "it has one flash sector, so there is no room for loader, staging and app",
        "use a larger part",
    ),
    **dict.fromkeys(("stm32h745", "stm32h747", "stm32h755", "stm32h757"), _TWO_CORES),
    **dict.fromkeys(("stm32h723", "stm32h725", "stm32h730", "stm32h733", "stm32h735"), _ONE_BANK),
    **dict.fromkeys(("stm32h7a3", "stm32h7b0", "stm32h7b3"), _SMALL_SECTORS),
}
"""Parts and families people will try: why they cannot work, and what to do."""
