"""Every key of a layout: what it means, what it takes, and what stands when it is left out.

Reader, JSON Schema and reference are made from this one table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from packager.chip import RTC_BACKUP_COUNT
from packager.format import BootCheck, Recovery
from packager.layout_kinds import (
    Kind,
    area,
    chip_kind,
    choice,
    level,
    number,
    pin,
    ram,
    switch,
    text,
)

NAME = r"[a-z][a-z0-9_]{0,31}"
"""What a name of the user's own looks like."""

REQUIRED = object()
"""Stands for a default where there is none."""

SUPPLY_LEVELS = {1950: 0, 2100: 1, 2250: 2, 2400: 3, 2550: 4, 2700: 5, 2850: 6}
"""Supply threshold in millivolts and its PWR_CR1.PLS value (RM0433 6.8.1)."""


class Key(NamedTuple):
    """One key, its meaning, and what stands for it (as YAML has it) when it is left out."""

    kind: Kind
    doc: str
    default: Any = REQUIRED


class Section(NamedTuple):
    """Keys below a key; it may be left out if every one of them may."""

    keys: Mapping[str, Key]
    doc: str

    @property
    def is_required(self) -> bool:
        """True if one of its keys has no default."""
        return any(key.default is REQUIRED for key in self.keys.values())


class Named(NamedTuple):
    """Any number of names of the user's own, each with a value of one kind; may be left out."""

    kind: Kind
    doc: str
    taken: tuple[str, ...] = ()
    """Names that mean something else already."""

    @property
    def wanted(self) -> str:
        """What a name may be, in words."""
        return f"expected 1 to 32 of a-z 0-9 _ that start with a letter, not {_or(self.taken)}"

    def takes(self, name: Any) -> bool:
        """Tell whether ``name`` may be used."""
        fits = isinstance(name, str) and re.fullmatch(NAME, name, re.ASCII)
        return bool(fits) and name not in self.taken


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


AREAS = {
    "loader": Key(area(), "The loader with its keys: the first sector of bank 1."),
    "staging": Key(
        area(),
        "Where an update is dropped, still encrypted: the only area a host tool writes.",
    ),
    "app": Key(
        area(),
        "Where the application runs. An install erases all of it; what lies beyond the"
        " image is blank afterwards, and its last 1 KiB is the loader's.",
    ),
    "marks": Key(area(), "The loader's records; one sector."),
}
"""The areas every layout has."""

KEYS: dict[str, Key | Section | Named] = {
    "chip": Key(chip_kind(), "The part, which gives banks, sectors and RAM."),
    "product": Section(
        {
            "id": Key(
                text(r"[a-z0-9][a-z0-9._-]*", "1 to 16 of a-z 0-9 . _ -", 16),
                "What updates are made for; a device refuses those of any other product.",
            ),
            "name": Key(
                text(r"[ -~]+", "1 to 32 printable ASCII characters", 32),
                "What people call it.",
            ),
        },
        "The product.",
    ),
    "areas": Section(AREAS, "Who owns which part of the flash, in whole sectors of 128 KiB."),
    "data": Named(
        area(),
        "Areas of the application's own, by name; neither loader nor tools touch them.",
        tuple(AREAS),
    ),
    "boot_check": Key(
        choice({"off": BootCheck.OFF, "crc": BootCheck.CRC, "digest": BootCheck.DIGEST}),
        "How the loader checks the application at every start: `crc` finds flash that decayed,"
        " `digest` (BLAKE2b) also finds an application that was changed, `off` is the fastest.",
        "crc",
    ),
    "recovery": Key(
        choice({"rom": Recovery.ROM, "dfu": Recovery.DFU, "none": Recovery.NONE}),
        "What the loader does when it has nothing to start: `rom` enters the ROM bootloader,"
        " `dfu` is on USB itself and takes updates into staging, at any `rdp`; `none` waits.",
        "rom",
    ),
    "entry": Section(
        {
            "pin": Key(pin(), "Asks for it while it is held at a reset or at power-on.", None),
            "pin_level": Key(
                choice({"low": False, "high": True}),
                "The level that asks; the loader pulls the pin the other way.",
                "low",
            ),
            "double_reset": Key(
                switch(),
                "Asks: a second reset by the reset pin before the application said"
                " `splitflash_alive()`.",
                False,
            ),
            "watchdog_resets": Key(
                number(0, 15, "a number from 0 to 15"),
                "Asks: so many resets in a row by a watchdog or by software before the application"
                " said `splitflash_alive()`. Not 0: the loader starts the independent watchdog, and"
                " the application must feed it every 32 seconds.",
                0,
            ),
        },
        "With `recovery: dfu`: what makes the loader stay on USB although it could start the"
        " application. At least one is needed. The application may always ask by"
        " `splitflash_enter_dfu()`.",
    ),
    "usb": Section(
        {
            "vid": Key(
                number(1, 0xFFFF, "a USB id like 0x0483", 4),
                "Vendor id. Programs for the ROM bootloader look for its ids only.",
                0x0483,
            ),
            "pid": Key(number(1, 0xFFFF, "a USB id like 0xDF11", 4), "Product id.", 0xDF11),
            "manufacturer": Key(
                text(r"[ -~]+", "1 to 31 printable ASCII characters", 31),
                "What the computer shows as its maker.",
                "splitflash",
            ),
            "product": Key(
                text(r"[ -~]+", "1 to 31 printable ASCII characters", 31),
                "What the computer shows as its name.",
                "splitflash loader",
            ),
            "option_bytes_alt": Key(
                choice({"none": False, "readonly": True}),
                "`readonly` shows a second memory with the option bytes, as the ROM bootloader"
                " does; nobody can write them there.",
                "none",
            ),
        },
        "With `recovery: dfu`: how the loader shows itself on USB.",
    ),
    "indicator": Section(
        {
            "pin": Key(pin(), "The pin that the light is on.", None),
            "pin_level": Key(choice({"low": False, "high": True}), "Lights it.", "high"),
        },
        "A light that says what the loader does: steady while it checks and installs an update,"
        " three blinks when it refused one and starts the application, blinking twice a second"
        " while it waits. Dark while the ROM bootloader waits.",
    ),
    "mailbox": Key(
        number(0, RTC_BACKUP_COUNT - 2, "a number from 0 to 30"),
        "The first of two backup registers of the RTC (30: RTC_BKP30R and RTC_BKP31R) by which"
        " the application asks for DfuSe and says that it is alive; they are no use for anything"
        " else.",
        30,
    ),
    "rdp": Key(
        number(0, 2, "a read-out protection level: 0, 1 or 2"),
        "The read-out protection the product ships with; no tool of ours changes it.",
        0,
    ),
    "supply_mv": Key(
        level(SUPPLY_LEVELS),
        "Supply voltage in millivolts below which the loader neither erases nor programs.",
        2700,
    ),
    "result_record": Key(
        number(0, 0xFFFF_FFFF, "a RAM address like 0x38000000", 8),
        "Where the loader tells the application what it did: 64 bytes of RAM, 32-byte aligned.",
        0x3800_0000,
    ),
    "app_ram": Key(
        ram(),
        "The RAM that the exported linker script calls `RAM`: `.data`, `.bss`, heap, and the stack"
        " down from its end. Of the DMA controllers only MDMA reaches DTCM.",
        "AXI SRAM",
    ),
    "watchdog": Key(
        choice({"software": False, "hardware": True}),
        "What the product's option byte IWDG1_SW says: `software`, somebody starts the independent"
        " watchdog or nobody; `hardware`, it runs from power-on. Goes into the checklist of"
        " `factory build` and into `sim new`. The loader feeds a running one in any case.",
        "software",
    ),
    "security_counter": Key(
        number(0, 0xFFFF_FFFF, "a number of 32 bits"),
        "The counter `pack` and `factory build` use when their command line names none; without"
        " both they refuse. Raise it with the release after which older ones must not come back: a"
        " device never again installs what has a lower one.",
        None,
    ),
}
"""The keys at the top of a layout, in the order of the reference."""
