"""The MEMORY command of an application's linker script."""

from __future__ import annotations

from packager.export.origin import made_by
from packager.layout import Layout

_RAM_NAMES = {"ITCM": "ITCM", "DTCM": "DTCM", "AXI SRAM": "RAM", "SRAM4": "SRAM4"}


def memory_fragment(layout: Layout) -> str:
    """Return the command, with FLASH no larger than what an update can carry."""
    lines = [
        f"/* {made_by(layout)} */",
        "/* FLASH is what an update can fill: the app area less what the loader needs of it. */",
        "MEMORY",
        "{",
        f"    FLASH (rx)  : ORIGIN = 0x{layout.app.start:08X}, LENGTH = {layout.largest_image}",
    ]
    for ram in layout.chip.ram:
        if ram.name in _RAM_NAMES:
            name = _RAM_NAMES[ram.name]
            lines.append(
                f"    {name:<6} (rwx) : ORIGIN = 0x{ram.span.start:08X}, LENGTH = {ram.span.size}"
            )
    return "\n".join([*lines, "}", ""])
