"""What is allowed in a layout but may not be meant: warnings, each with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from packager.chip import KIB, Span
from packager.flash_map import rows
from packager.format import CARRY_SIZE, RESULT_SIZE, BootCheck, Recovery
from packager.layout import Layout, Usb
from packager.layout_file import Problem
from packager.option_bytes import BROWN_OUT_LEVELS


def staging_in_bank_2(layout: Layout) -> Iterator[Problem]:
    """Many ROM bootloaders never report the end of an erase in bank 2."""
    if layout.chip.bank_of(layout.staging.start) == 2 and layout.recovery is Recovery.ROM:
        yield Problem(
            "areas.staging",
            "lies in bank 2",
            "ROM bootloaders 9.0 and 9.1 never report the end of an erase there, and stock"
            " dfu-util waits for ever",
            "put it into bank 1, or have customers use 'splitflash drop' or STM32CubeProgrammer",
        )


def staging_smaller_than_the_app_area(layout: Layout) -> Iterator[Problem]:
    """An application that fits the app area but not staging can never be updated."""
    usable = layout.app.size - CARRY_SIZE
    if layout.largest_image < usable - _WORTH_TELLING:
        yield Problem(
            "areas.staging",
            f"holds updates of images of at most {layout.largest_image} bytes",
            f"the app area would take {usable}",
            "enlarge staging or give the rest of the app area to something else",
        )


def staging_larger_than_needed(layout: Layout) -> Iterator[Problem]:
    """Sectors of staging that no update can reach are lost."""
    if layout.staging.size > layout.app.size + _WORTH_TELLING:
        yield Problem(
            "areas.staging",
            f"{layout.staging.size // KIB} KiB",
            f"the app area has {layout.app.size // KIB} KiB, so no update needs more than a little"
            " above that",
            "give the rest to the app or to data",
        )


def sectors_without_a_role(layout: Layout) -> Iterator[Problem]:
    """Nothing keeps an application from using them, and nobody sees that it does."""
    for row in rows(layout):
        if row.name == "free":
            yield Problem(
                "areas",
                f"0x{row.start:08X}..0x{row.start + row.size - 1:08X} belongs to nobody",
                "a later layout may claim it",
                "name it under data: if the application uses it",
            )


def start_without_a_check(layout: Layout) -> Iterator[Problem]:
    """Flash that decayed is started as it is."""
    if layout.boot_check is BootCheck.OFF:
        yield Problem(
            "boot_check",
            "off",
            "an application that was damaged after its install is started all the same",
            "use crc unless the start is counted in microseconds",
        )


def nothing_to_enter_by(layout: Layout) -> Iterator[Problem]:
    """Where neither ROM nor loader takes an update, a crashing application stays for ever."""
    if layout.recovery is Recovery.NONE:
        yield Problem(
            "recovery",
            "none",
            "only the application itself can bring an update into staging; one that crashes at its"
            " start cannot be replaced in the field",
            "test releases on the virtual board and on a bench before they go out",
        )


def readable_in_spite_of_the_own_dfu(layout: Layout) -> Iterator[Problem]:
    """Without read-out protection the ROM bootloader is there as well, and reads everything."""
    if layout.recovery is Recovery.DFU and layout.rdp == 0:
        yield Problem(
            "rdp",
            "0 with 'recovery: dfu'",
            "by BOOT0 and the ROM bootloader anybody with a cable reads application and keys",
            "set rdp: 1 or 2 for what is shipped",
        )


def result_record_where_start_up_code_works(layout: Layout) -> Iterator[Problem]:
    """The C start-up of an application fills its main RAM before main()."""
    if layout.app_ram.overlaps(Span(layout.result_record, RESULT_SIZE)):
        yield Problem(
            "result_record",
            f"0x{layout.result_record:08X} is in the application's RAM"
            f" (0x{layout.app_ram.start:08X}..0x{layout.app_ram.end - 1:08X})",
            "its start-up code fills that with data and stack before it can read the record",
            "move the record, or let app_ram end before it",
        )


def watchdog_that_nobody_can_stop(layout: Layout) -> Iterator[Problem]:
    """It starts with 512 ms (RM0433 43.3) and outlives the loader's jump."""
    if layout.watchdog_is_hardware and not layout.entry.watchdog_resets:
        yield Problem(
            "watchdog",
            "hardware",
            "it bites 0.5 s after the loader's last feed, so an application that feeds it later"
            " never gets further, old releases included",
            "feed it or set a longer time first thing in every release, and freeze it in the"
            " debugger (DBGMCU_APB4FZ1)",
        )


def data_only_where_the_app_runs(layout: Layout) -> Iterator[Problem]:
    """A bank that is erased or programmed answers no fetch (RM0433 chapter 4)."""
    bank = layout.chip.bank_of(layout.app.start)
    if layout.data and all(layout.chip.bank_of(span.start) == bank for _, span in layout.data):
        yield Problem(
            f"data.{layout.data[0][0]}",
            f"lies in bank {bank}, where the app runs, and so does every other data area",
            "writing there stops the core, interrupts included, for up to 4 s of an erase",
            "put what is written often into the other bank, or keep what must go on in RAM",
        )


def supply_below_every_brown_out_level(layout: Layout) -> Iterator[Problem]:
    """Without one nothing resets a core that runs on too little (RM0433 6.5.2)."""
    lowest = min(limit for limit in BROWN_OUT_LEVELS if limit)
    if layout.supply_mv < lowest:
        yield Problem(
            "supply_mv",
            f"{layout.supply_mv}",
            f"the lowest brown-out level is {lowest} mV, so the chip runs on without one while its"
            " supply breaks down",
            f"use {lowest} or more unless the supply is that low by design",
        )


def usb_ids_of_ones_own(layout: Layout) -> Iterator[Problem]:
    """Stock tools look for the ids of ST's bootloader."""
    usual = Usb()
    if (layout.usb.vid, layout.usb.pid) != (usual.vid, usual.pid):
        yield Problem(
            "usb.vid" if layout.usb.vid != usual.vid else "usb.pid",
            f"ids {layout.usb.vid:04x}:{layout.usb.pid:04x}",
            f"STM32CubeProgrammer and udev rules for the ROM bootloader look for"
            f" {usual.vid:04x}:{usual.pid:04x}, and 'splitflash kit' refuses others",
            "give the customer splitflash and a udev rule for them, or leave out vid and pid",
        )


_WORTH_TELLING = 128 * KIB
"""Bytes; the header and the tags of an update always take a little."""

Lint = Callable[[Layout], Iterator[Problem]]
LINTS: tuple[Lint, ...] = (
    staging_in_bank_2,
    staging_smaller_than_the_app_area,
    staging_larger_than_needed,
    sectors_without_a_role,
    start_without_a_check,
    nothing_to_enter_by,
    readable_in_spite_of_the_own_dfu,
    result_record_where_start_up_code_works,
    watchdog_that_nobody_can_stop,
    data_only_where_the_app_runs,
    supply_below_every_brown_out_level,
    usb_ids_of_ones_own,
)


def warnings_of(layout: Layout) -> list[Problem]:
    """Return every warning about a layout."""
    return [warning for lint in LINTS for warning in lint(layout)]
