"""What production sets besides the factory image: the steps, with lines for STM32CubeProgrammer.

Text only. No tool of ours changes option bytes: a wrong one can end a device for good. Names and
values are those of RM0433 4.9 and UM2237; nobody has run these lines on the real program yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packager.format import Recovery
from packager.layout import Layout

BROWN_OUT_LEVELS = {2700: 3, 2400: 2, 2100: 1, 0: 0}
"""Millivolts below which the chip is held in reset, and BOR_LEV (RM0433 6.5.2)."""
RDP_BYTES = {0: 0xAA, 1: 0xBB, 2: 0xCC}
ROM_BOOT_ADDRESS = 0x1FF0
STEPS_NAME = "factory-steps.txt"
_PROBE = "STM32_Programmer_CLI -c port=SWD mode=UR"
_UNTRIED = (
    "not tested here with STM32CubeProgrammer itself: compare names and values with its window"
)
_WATCHDOGS = {
    0: "the independent watchdog runs from power-on, and nothing stops it",
    1: "the independent watchdog waits until software starts it",
}
_DOORS = {
    Recovery.ROM: "drop an update with BOOT0 high",
    Recovery.DFU: "drop an update through the loader's own DFU",
    Recovery.NONE: "have it take an update",
}


@dataclass(frozen=True)
class ProductionOptions:
    """The option bytes a layout asks for; boot addresses are the upper halves of 32 bits."""

    brown_out_level: int
    software_watchdog: int
    """IWDG1_SW: 0 if the independent watchdog runs from power-on, else 1."""
    boot0_low: int
    """BOOT_CM7_ADD0."""
    boot0_high: int
    """BOOT_CM7_ADD1, when everything is done."""
    swap_banks: int
    """SWAP_BANK_OPT: 0, each bank at the addresses of the layout."""
    protected_sectors: tuple[int, ...]
    """Of bank 1: those of the loader."""
    rdp: int

    @property
    def boot0_high_at_first(self) -> int:
        """BOOT_CM7_ADD1 until the device was checked: the ROM bootloader reads everything."""
        return ROM_BOOT_ADDRESS


def production_options(layout: Layout) -> ProductionOptions:
    """Return what production sets for this layout."""
    limit = max(mv for mv in BROWN_OUT_LEVELS if mv <= layout.supply_mv)
    loader = layout.loader.start >> 16
    return ProductionOptions(
        brown_out_level=BROWN_OUT_LEVELS[limit],
        software_watchdog=int(not layout.watchdog_is_hardware),
        boot0_low=loader,
        boot0_high=loader if layout.rdp else ROM_BOOT_ADDRESS,
        swap_banks=0,
        protected_sectors=tuple(sector for _, sector in layout.chip.sectors_of(layout.loader)),
        rdp=layout.rdp,
    )


def checklist(layout: Layout, factory: str, keys: str | None = None) -> list[str]:
    """Return the steps from a blank chip to a product, in their order."""
    return [
        "steps of production; splitflash takes none of them, these lines are for you;",
        _UNTRIED,
        *_image(factory),
        *_options(layout),
        *_check(layout, factory, keys),
        *_trial(layout),
        *_protection(layout),
    ]


def _image(factory: str) -> Iterator[str]:
    yield "1. write the factory image and have it read back"
    yield f"     {_PROBE} -w {_word(factory)} -v"


def _options(layout: Layout) -> Iterator[str]:
    options = production_options(layout)
    level, first, second = options.brown_out_level, options.boot0_low, options.boot0_high_at_first
    limit = next(mv for mv, number in BROWN_OUT_LEVELS.items() if number == level)
    yield "2. option bytes: brown-out level, boot addresses, banks, write protection, watchdog"
    yield (
        f"     BOR_LEV={level}: "
        + (f"the chip stops below {limit / 1000:.1f} V" if limit else "off, the supply is too low")
        + f"; erasing needs {layout.supply_mv / 1000:.2f} V (supply_mv)"
    )
    yield f"     BOOT_CM7_ADD0=0x{first:04X}: the chip starts the loader"
    reason = "for the check in step 3" if layout.rdp else "for check and updates"
    yield f"     BOOT_CM7_ADD1=0x{second:04X}: with BOOT0 high the ROM bootloader, {reason}"
    swap = options.swap_banks
    yield f"     SWAP_BANK_OPT={swap}: each bank where the layout has it"
    sectors = " ".join(f"nWRP{sector}=0" for sector in options.protected_sectors)
    yield f"     {sectors}: no program that runs wild erases the loader"
    dog = options.software_watchdog
    yield f"     IWDG1_SW={dog}: {_WATCHDOGS[dog]}"
    boot = f"BOOT_CM7_ADD0=0x{first:04X} BOOT_CM7_ADD1=0x{second:04X}"
    values = f"BOR_LEV={level} IWDG1_SW={dog} SWAP_BANK_OPT={swap} {boot}"
    yield f"     {_PROBE} -ob {values} {sectors}"
    yield f"     {_PROBE} -ob displ"
    yield "     must show these values"


def _check(layout: Layout, factory: str, keys: str | None) -> Iterator[str]:
    own = [f"--factory {_word(factory)}", f"--layout {_word(str(layout.path))}"]
    own += [f"--keys {_word(keys)}"] if keys else []
    yield "3. take probe and power away, BOOT0 high, plug it in by USB, and have it compared"
    yield f"     splitflash factory check {' '.join(own)}"
    yield "     every line must begin with ok, and the last one with good; exit code 0"
    yield "     (if it does not know the option bytes: compare them by -ob displ)"


def _trial(layout: Layout) -> Iterator[str]:
    yield "4. unplug it, BOOT0 low, plug it in, see the application run,"
    yield f"     and of the first devices {_DOORS[layout.recovery]}"


def _protection(layout: Layout) -> Iterator[str]:
    if layout.rdp == 0:
        yield "5. read-out protection stays off (rdp: 0): a cable is enough to read app and keys"
        return
    options = production_options(layout)
    if layout.rdp == 1:
        yield "5. last, read-out protection level 1; the way back to 0 erases loader, keys and app"
    else:
        yield "5. last, read-out protection level 2: FINAL, no probe and no repair ever after;"
        yield "     ship some at level 1 first"
    second = options.boot0_high
    yield f"     BOOT_CM7_ADD1=0x{second:04X}: also with BOOT0 high, where the ROM is of no use"
    yield f"     {_PROBE} -ob BOOT_CM7_ADD1=0x{second:04X}"
    yield f"     {_PROBE} -ob RDP=0x{RDP_BYTES[options.rdp]:02X}"
    yield "6. take probe and power away: a chip that has seen a debugger since power-on keeps its"
    yield "     flash closed, so nothing starts; plug it in without the probe and see that it runs"
    if layout.recovery is Recovery.DFU:
        yield "     then bring up the loader's own DFU and ask it"
        yield "     splitflash status"
        yield f"     must show rdp: {layout.rdp} and your version as installed.version"


def _word(text: str) -> str:
    """Return a word of a command line, in the quotes that every shell takes."""
    return f'"{text}"' if " " in text else text
