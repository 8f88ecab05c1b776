"""The MEMORY command of an application's linker script."""

from __future__ import annotations

from collections.abc import Iterator

from packager.chip import Span
from packager.export.origin import made_by
from packager.layout import Layout

_RAM_NAMES = {"ITCM": "ITCM", "DTCM": "DTCM", "AXI SRAM": "AXISRAM", "SRAM4": "SRAM4"}
"""What the script calls RAM that is not the layout's ``app_ram``."""


def memory_fragment(layout: Layout) -> str:
    """Return the command, with FLASH no larger than what an update can carry."""
    lines = [
        f"/* {made_by(layout)} */",
        "/* FLASH is what an update can fill: the app area less what the loader needs of it. */",
        "MEMORY",
        "{",
        f"    FLASH (rx)  : ORIGIN = 0x{layout.app.start:08X}, LENGTH = {layout.largest_image}",
        *(_ram_line(name, span) for name, span in _regions(layout)),
    ]
    return "\n".join([*lines, "}", ""])


def _regions(layout: Layout) -> Iterator[tuple[str, Span]]:
    """Yield ``RAM``, where data and stack go, and every other RAM that is wholly free."""
    yield "RAM", layout.app_ram
    for ram in layout.chip.ram:
        if ram.name in _RAM_NAMES and not ram.span.overlaps(layout.app_ram):
            yield _RAM_NAMES[ram.name], ram.span


def _ram_line(name: str, span: Span) -> str:
    return f"    {name:<7} (rwx) : ORIGIN = 0x{span.start:08X}, LENGTH = {span.size}"
