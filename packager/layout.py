"""The flash layout of a product: one YAML file, checked against the chip, as a frozen value.

Every address in C, linker scripts, headers and printed command lines comes from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packager.chip import BOOT_ADDRESS, KIB, RTC_BACKUP, SECTOR_SIZE, Chip, Span
from packager.format import (
    HEADER_SIZE,
    RESULT_SIZE,
    BootCheck,
    Recovery,
    largest_image,
)
from packager.layout_file import Draft, Problem, read_layout_file
from packager.layout_keys import SUPPLY_LEVELS
from packager.layout_kinds import RamChoice
from packager.vectors import STACK_ALIGNMENT, stack_ram

VECTOR_ALIGNMENT = 1024
"""Bytes: 166 vectors of 4, rounded up to a power of two (ARMv7-M B1.5.3)."""

SMALLEST_IMAGE = 1024
"""Bytes: a vector table and one instruction; staging must be able to hold at least this."""


@dataclass(frozen=True)
class Entry:
    """What makes the loader open its own DFU although it could start the application."""

    pin: tuple[str, int] | None = None
    """Port letter and number, held at reset."""
    pin_is_high: bool = False
    double_reset: bool = False
    watchdog_resets: int = 0


@dataclass(frozen=True)
class Indicator:
    """The light that says what the loader does."""

    pin: tuple[str, int] | None = None
    """Port letter and number."""
    pin_is_high: bool = True
    """The level that lights it."""


@dataclass(frozen=True)
class Usb:
    """How the loader's own DFU shows itself."""

    vid: int = 0x0483
    pid: int = 0xDF11
    manufacturer: str = "splitflash"
    product: str = "splitflash loader"
    option_bytes_are_readable: bool = False


@dataclass(frozen=True)
class Layout:
    """A checked layout; every span is made of whole sectors inside one bank."""

    path: Path
    chip: Chip
    product_id: str
    product_name: str
    loader: Span
    staging: Span
    app: Span
    marks: Span
    data: tuple[tuple[str, Span], ...]
    boot_check: BootCheck
    recovery: Recovery
    rdp: int
    supply_mv: int
    result_record: int
    app_ram: Span
    """Where the application's linker script puts data and stack."""
    watchdog_is_hardware: bool
    """The option bytes of the product start the independent watchdog at power-on."""
    security_counter: int | None
    entry: Entry = Entry()
    usb: Usb = Usb()
    indicator: Indicator = Indicator()
    mailbox: int = 30
    """First of the two backup registers in which the application asks for DfuSe."""

    @property
    def areas(self) -> dict[str, Span]:
        """Every named area, data areas included, by name."""
        own = {name: getattr(self, name) for name in ("loader", "staging", "app", "marks")}
        return {**own, **dict(self.data)}

    @property
    def largest_image(self) -> int:
        """Largest application image in bytes that can be updated."""
        return largest_image(self.app.size, self.staging.size)

    @property
    def supply_level(self) -> int:
        """PWR_CR1.PLS value of the supply threshold."""
        return SUPPLY_LEVELS[self.supply_mv]

    @property
    def mailbox_address(self) -> int:
        """Address of the first register of the mailbox; the second lies behind it."""
        return RTC_BACKUP + 4 * self.mailbox

    @property
    def product_id_field(self) -> bytes:
        """The product id as header and info block carry it: 16 bytes, padded with NUL."""
        return self.product_id.encode("ascii").ljust(16, b"\0")

    @property
    def layout_id(self) -> bytes:
        """16 bytes that differ when anything differs that matters on the device."""
        parts = [self.chip.chip_id.to_bytes(4, "little"), self.product_id_field]
        for name, span in sorted(self.areas.items()):
            parts.append(len(name).to_bytes(1, "little") + name.encode())
            parts.append(span.start.to_bytes(4, "little") + span.size.to_bytes(4, "little"))
        return hashlib.blake2b(b"".join(parts), digest_size=16).digest()


def load_layout(path: Path) -> Layout:
    """Read and check a layout file.

    Raises:
        LayoutError: every broken rule at once, each ``file:line:column: key: found, expected; do``.
    """
    return read_layout(path)[0]


def read_layout(path: Path) -> tuple[Layout, Draft]:
    """Read and check a layout file; the draft knows where each key stands.

    Raises:
        LayoutError: every broken rule at once.
    """
    draft = read_layout_file(path)
    for rule in RULES:
        draft.problems.extend(rule(draft))
    draft.raise_problems()
    values = draft.values
    data = (item for item in _all_spans(draft) if item[0].startswith("data."))
    layout = Layout(
        path=path,
        chip=values["chip"],
        product_id=values["product.id"],
        product_name=values["product.name"],
        loader=values["areas.loader"],
        staging=values["areas.staging"],
        app=values["areas.app"],
        marks=values["areas.marks"],
        data=tuple(sorted((key.removeprefix("data."), span) for key, span in data)),
        boot_check=values["boot_check"],
        recovery=values["recovery"],
        rdp=values["rdp"],
        supply_mv=values["supply_mv"],
        result_record=values["result_record"],
        app_ram=_app_ram(values["chip"], values["app_ram"]),
        watchdog_is_hardware=values["watchdog"],
        security_counter=values["security_counter"],
        entry=Entry(
            pin=values["entry.pin"],
            pin_is_high=values["entry.pin_level"],
            double_reset=values["entry.double_reset"],
            watchdog_resets=values["entry.watchdog_resets"],
        ),
        indicator=Indicator(
            pin=values["indicator.pin"],
            pin_is_high=values["indicator.pin_level"],
        ),
        mailbox=values["mailbox"],
        usb=Usb(
            vid=values["usb.vid"],
            pid=values["usb.pid"],
            manufacturer=values["usb.manufacturer"],
            product=values["usb.product"],
            option_bytes_are_readable=values["usb.option_bytes_alt"],
        ),
    )
    return layout, draft


def _all_spans(draft: Draft) -> list[tuple[str, Span]]:
    return [(key, value) for key, value in draft.values.items() if isinstance(value, Span)]


def areas_are_whole_sectors(draft: Draft) -> Iterator[Problem]:
    """Erasing works by sectors only."""
    for key, span in _all_spans(draft):
        for what, address in (("starts", span.start), ("ends", span.end)):
            if address % SECTOR_SIZE:
                below = address - address % SECTOR_SIZE
                yield Problem(
                    key,
                    f"{what} at 0x{address:08X} inside a sector",
                    "sectors are 128 KiB",
                    f"use 0x{below:08X} or 0x{below + SECTOR_SIZE:08X}",
                )


def areas_are_inside_flash(draft: Draft) -> Iterator[Problem]:
    """Every area lies wholly in one flash bank of the chip."""
    chip: Any = draft.values.get("chip")
    if not isinstance(chip, Chip):
        return
    banks = " and ".join(f"0x{bank.start:08X}..0x{bank.end - 1:08X}" for bank in chip.banks)
    for key, span in _all_spans(draft):
        first, last = chip.bank_of(span.start), chip.bank_of(span.end - 1)
        place = f"0x{span.start:08X}..0x{span.end - 1:08X}"
        if first is None or last is None:
            yield Problem(
                key, f"{place} is outside the flash of {chip.name}", banks, "move or shrink it"
            )
        elif first != last:
            yield Problem(
                key,
                f"{place} crosses from bank {first} to bank {last}",
                banks,
                "keep it in one bank",
            )


def areas_do_not_overlap(draft: Draft) -> Iterator[Problem]:
    """No byte of flash has two roles."""
    spans = sorted(_all_spans(draft), key=lambda item: item[1].start)
    for at, (key, span) in enumerate(spans):
        for other_key, other in spans[at + 1 :]:
            if span.overlaps(other):
                yield Problem(
                    other_key,
                    f"starts at 0x{other.start:08X}",
                    f"'{key}' reaches up to 0x{span.end - 1:08X}",
                    "let them not overlap",
                )


def loader_starts_at_the_boot_address(draft: Draft) -> Iterator[Problem]:
    """With factory option bytes the core starts at bank 1 sector 0."""
    loader = draft.values.get("areas.loader")
    if isinstance(loader, Span) and loader.start != BOOT_ADDRESS:
        yield Problem(
            "areas.loader",
            f"starts at 0x{loader.start:08X}",
            f"the chip boots from 0x{BOOT_ADDRESS:08X}",
            "start it there",
        )


def app_starts_where_a_vector_table_may(draft: Draft) -> Iterator[Problem]:
    """VTOR needs the vector table aligned to its size."""
    app = draft.values.get("areas.app")
    if isinstance(app, Span) and app.start % VECTOR_ALIGNMENT:
        yield Problem(
            "areas.app",
            f"a vector table at 0x{app.start:08X} is not aligned",
            f"it needs {VECTOR_ALIGNMENT} bytes",
            "start it at a sector",
        )


def marks_are_one_sector(draft: Draft) -> Iterator[Problem]:
    """Records are appended and compacted within one sector."""
    marks = draft.values.get("areas.marks")
    if isinstance(marks, Span) and marks.size != SECTOR_SIZE:
        yield Problem(
            "areas.marks",
            f"{marks.size // KIB} KiB",
            "expected one sector of 128 KiB",
            "set size: 128K",
        )


def app_area_has_at_most_32_sectors(draft: Draft) -> Iterator[Problem]:
    """A record keeps one bit for each sector of the app area."""
    app = draft.values.get("areas.app")
    if isinstance(app, Span) and app.size > 32 * SECTOR_SIZE:
        yield Problem("areas.app", f"{app.size // SECTOR_SIZE} sectors", "at most 32", "shrink it")


def staging_holds_an_update(draft: Draft) -> Iterator[Problem]:
    """An update of the smallest image must fit into staging and app area."""
    staging, app = draft.values.get("areas.staging"), draft.values.get("areas.app")
    if isinstance(staging, Span) and isinstance(app, Span):
        largest = largest_image(app.size, staging.size)
        if largest < SMALLEST_IMAGE:
            yield Problem(
                "areas.staging",
                f"holds {staging.size} bytes, so images of at most {largest} bytes",
                f"a header of {HEADER_SIZE} and at least {SMALLEST_IMAGE} bytes of image",
                "enlarge it",
            )


def recovery_works_at_this_rdp(draft: Draft) -> Iterator[Problem]:
    """The ROM bootloader refuses everything at RDP level 1 and never starts at level 2."""
    rdp = draft.values.get("rdp")
    if isinstance(rdp, int) and rdp >= 1 and draft.values.get("recovery") == Recovery.ROM:
        yield Problem(
            "rdp",
            f"level {rdp} together with 'recovery: rom'",
            "at level 1 and 2 the ROM bootloader neither reads nor writes flash",
            "set recovery: dfu, which works at every level",
        )


def own_dfu_opens_without_the_application(draft: Draft) -> Iterator[Problem]:
    """An application that crashes cannot ask for it, and must stay replaceable."""
    if draft.values.get("recovery") != Recovery.DFU:
        return
    keys = ("entry.pin", "entry.double_reset", "entry.watchdog_resets")
    if all(key in draft.values and not draft.values[key] for key in keys):
        yield Problem(
            "recovery",
            "dfu without an entry that the application has no part in",
            "an application that starts and then hangs could never be replaced",
            "add for example entry: {double_reset: true, watchdog_resets: 3}",
        )


def entry_and_usb_need_the_own_dfu(draft: Draft) -> Iterator[Problem]:
    """They would have no effect, and somebody believes they have."""
    recovery = draft.values.get("recovery")
    if recovery is None or recovery == Recovery.DFU:
        return
    for key in ("entry", "usb"):
        if key in draft.places:
            yield Problem(
                key,
                f"written beside 'recovery: {recovery.name.lower()}'",
                "only the loader's own DFU uses it",
                f"set recovery: dfu, or remove '{key}:'",
            )


def pins_are_free(draft: Draft) -> Iterator[Problem]:
    """USB and the debugger hold these pins themselves, and a pin has one meaning."""
    taken = dict(_TAKEN_PINS)
    for section, meaning in (("entry", "the pin of 'entry'"), ("indicator", "the light")):
        pin = draft.values.get(f"{section}.pin")
        if pin in taken:
            yield Problem(
                f"{section}.pin",
                f"P{pin[0]}{pin[1]} is {taken[pin]}",
                "expected a pin that nothing else drives at reset",
                "use another",
            )
        elif pin:
            taken[pin] = meaning
        if f"{section}.pin_level" in draft.places and f"{section}.pin" not in draft.places:
            yield Problem(
                f"{section}.pin_level",
                "written without 'pin'",
                "which pin has it",
                "add 'pin:' or remove it",
            )


_TAKEN_PINS = {
    ("A", 11): "USB D-",
    ("A", 12): "USB D+",
    ("A", 13): "SWDIO",
    ("A", 14): "SWCLK",
}


def result_record_is_in_ram_the_loader_leaves_alone(draft: Draft) -> Iterator[Problem]:
    """The loader lives in the tightly-coupled RAM and wipes it before it jumps."""
    chip, address = draft.values.get("chip"), draft.values.get("result_record")
    if not isinstance(chip, Chip) or not isinstance(address, int):
        return
    ram = chip.ram_of(address)
    fits = ram and ram.span.contains(address, RESULT_SIZE)
    if not ram or not fits or ram.name not in ("AXI SRAM", "SRAM4") or address % 32:
        yield Problem(
            "result_record",
            f"found 0x{address:08X}",
            "expected 32-byte aligned in AXI SRAM (0x24000000) or SRAM4 (0x38000000)",
            "use for example 0x38000000",
        )


def _app_ram(chip: Chip, chosen: RamChoice) -> Span:
    """Return the addresses; a name that the chip does not have gives none."""
    named = (ram.span for ram in stack_ram(chip) if ram.name == chosen.name)
    return Span(*chosen.addresses) if not chosen.name else next(named, Span(0, 0))


def app_ram_is_one_ram_of_the_chip(draft: Draft) -> Iterator[Problem]:
    """Data and stack of the application need memory that is there, without a hole in it."""
    chip, chosen = draft.values.get("chip"), draft.values.get("app_ram")
    if not isinstance(chip, Chip) or not isinstance(chosen, RamChoice):
        return
    span = _app_ram(chip, chosen)
    if not any(ram.span.contains(*span) and span.size for ram in stack_ram(chip)):
        place = f"'{chosen.name}'" if chosen.name else f"0x{span.start:08X}..0x{span.end - 1:08X}"
        known = ", ".join(
            f"{ram.name} (0x{ram.span.start:08X}..0x{ram.span.end - 1:08X})"
            for ram in stack_ram(chip)
        )
        yield Problem(
            "app_ram", f"{place} is in no RAM of {chip.name}", f"it has {known}", "choose one"
        )
    elif span.start % STACK_ALIGNMENT or span.size % STACK_ALIGNMENT:
        yield Problem(
            "app_ram",
            f"0x{span.start:08X} to 0x{span.end:08X}",
            f"both are multiples of {STACK_ALIGNMENT}, because the stack starts at the end",
            "use such addresses",
        )


Rule = Callable[[Draft], Iterator[Problem]]
RULES: tuple[Rule, ...] = (
    areas_are_whole_sectors,
    areas_are_inside_flash,
    areas_do_not_overlap,
    loader_starts_at_the_boot_address,
    app_starts_where_a_vector_table_may,
    marks_are_one_sector,
    app_area_has_at_most_32_sectors,
    staging_holds_an_update,
    recovery_works_at_this_rdp,
    own_dfu_opens_without_the_application,
    entry_and_usb_need_the_own_dfu,
    pins_are_free,
    result_record_is_in_ram_the_loader_leaves_alone,
    app_ram_is_one_ram_of_the_chip,
)
"""Every rule of a layout, named as the sentence it enforces."""
