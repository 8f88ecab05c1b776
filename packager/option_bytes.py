"""What production sets besides the factory image: a checklist with lines for STM32CubeProgrammer.

Text only. No tool of ours changes option bytes: a wrong one can end a device for good.
"""

from __future__ import annotations

from collections.abc import Iterator

from packager.chip import SECTOR_SIZE
from packager.format import Recovery
from packager.layout import Layout

BROWN_OUT_LEVELS = {2700: 3, 2400: 2, 2100: 1, 0: 0}
"""Millivolts below which the chip is held in reset, and BOR_LEV (RM0433 6.5.2)."""
RDP_BYTES = {0: 0xAA, 1: 0xBB, 2: 0xCC}
ROM_BOOT_ADDRESS = 0x1FF0
_PROBE = "STM32_Programmer_CLI -c port=SWD mode=UR"


_WATCHDOGS = {
    False: "the independent watchdog waits until software starts it",
    True: "the independent watchdog runs from power-on, and nothing stops it",
}
_DOORS = {
    Recovery.ROM: "drop an update with BOOT0 high",
    Recovery.DFU: "drop an update through the loader's own DFU",
    Recovery.NONE: "have it take an update",
}


def checklist(layout: Layout, factory: str) -> list[str]:
    """Return the steps from a blank chip to a product, in their order."""
    steps = [*_image(factory), *_options(layout), *_trial(layout), *_protection(layout)]
    head = "option bytes for production; splitflash never sets them, these lines are for you:"
    return [head, *steps]


def _image(factory: str) -> Iterator[str]:
    yield "1. write the factory image and have it read back"
    yield f"     {_PROBE} -w {factory} -v"


def _options(layout: Layout) -> Iterator[str]:
    limit = max(mv for mv in BROWN_OUT_LEVELS if mv <= layout.supply_mv)
    level = BROWN_OUT_LEVELS[limit]
    first = layout.loader.start >> 16
    yield "2. brown-out level, boot addresses, write protection of the loader"
    yield (
        f"     BOR_LEV={level}: "
        + (f"the chip stops below {limit / 1000:.1f} V" if limit else "off, the supply is too low")
        + f"; erasing needs {layout.supply_mv / 1000:.2f} V (supply_mv)"
    )
    yield f"     BOOT_CM7_ADD0=0x{first:04X}: the chip starts the loader"
    if layout.rdp:
        second = first
        yield f"     BOOT_CM7_ADD1=0x{second:04X}: also with BOOT0 high, where the ROM is of no use"
    else:
        second = ROM_BOOT_ADDRESS
        yield f"     BOOT_CM7_ADD1=0x{second:04X}: with BOOT0 high the ROM bootloader, for updates"
    sectors = _loader_sectors(layout)
    yield "     " + " ".join(sectors) + ": no program that runs wild erases the loader"
    dog = 0 if layout.watchdog_is_hardware else 1
    yield f"     IWDG1_SW={dog}: {_WATCHDOGS[layout.watchdog_is_hardware]}"
    boot = f"BOOT_CM7_ADD0=0x{first:04X} BOOT_CM7_ADD1=0x{second:04X}"
    values = f"BOR_LEV={level} IWDG1_SW={dog} {boot}"
    yield f"     {_PROBE} -ob {values} {' '.join(sectors)}"


def _loader_sectors(layout: Layout) -> list[str]:
    bank = next(bank for bank in layout.chip.banks if bank.contains(layout.loader.start))
    first = (layout.loader.start - bank.start) // SECTOR_SIZE
    return [f"nWRP{first + at}=0" for at in range(layout.loader.size // SECTOR_SIZE)]


def _trial(layout: Layout) -> Iterator[str]:
    yield f"3. unplug it, plug it in, see the application run, and {_DOORS[layout.recovery]}"


def _protection(layout: Layout) -> Iterator[str]:
    if layout.rdp == 0:
        yield "4. read-out protection stays off (rdp: 0): a cable is enough to read app and keys"
        return
    byte = RDP_BYTES[layout.rdp]
    if layout.rdp == 1:
        yield "4. last, read-out protection level 1; the way back to 0 erases loader, keys and app"
    else:
        yield "4. last, read-out protection level 2: FINAL, no probe and no repair ever after;"
        yield "     ship some at level 1 first"
    yield f"     {_PROBE} -ob RDP=0x{byte:02X}"
    yield "5. take probe and power away, plug it in, see that it runs (not with the probe on)"
