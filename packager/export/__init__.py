"""What an application's project gets from a layout; every file says which layout made it.

Linker script, CMake module and notes are the files in ``templates/``, with ``@name@`` filled in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from packager.chip import BOOT_ADDRESS
from packager.export.c_header import c_header
from packager.export.memory import memory_fragment
from packager.export.origin import made_by, must_be_current
from packager.export.template import fill
from packager.files import text_bytes, write_atomic
from packager.format import Recovery
from packager.layout import Layout

MEMORY_FILE = "splitflash_memory.ld"
SCRIPT_FILE = "splitflash_app.ld"
CHECK_FILE = "splitflash_check.ld"
HEADER_FILE = "splitflash_layout.h"
CMAKE_FILE = "splitflash.cmake"
NOTES_FILE = "CUBEIDE.md"

_FILLED = (SCRIPT_FILE, CHECK_FILE, CMAKE_FILE, NOTES_FILE)
_TEMPLATES = Path(__file__).parent / "templates"


def export_layout(layout: Layout, directory: Path) -> list[Path]:
    """Write every file; return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        write_atomic(directory / name, text_bytes(text(layout)))
    return [directory / name for name in FILES]


def check_export(layout: Layout, directory: Path) -> None:
    """Return only if every file is there just as it would be written now.

    Raises:
        FormatError: one is missing or differs.
    """
    contents = {name: text_bytes(text(layout)) for name, text in FILES.items()}
    must_be_current(
        directory, contents, layout, f"splitflash layout export {layout.path} -o {directory}"
    )


def _filled(template: str, layout: Layout) -> str:
    values = {
        "made_by": made_by(layout),
        "product": layout.product_name,
        "origin": f"0x{layout.app.start:08X}",
        "length": str(layout.largest_image),
        "offset": f"0x{layout.app.start - BOOT_ADDRESS:08X}",
        "record": f"0x{layout.result_record:08X}",
        "ram": f"0x{layout.app_ram.start:08X}..0x{layout.app_ram.end - 1:08X}",
        "watchdog": _watchdog(layout),
        "header": HEADER_FILE,
        "memory": MEMORY_FILE,
        "script": SCRIPT_FILE,
        "check": CHECK_FILE,
        "notes": NOTES_FILE,
        "alive": "" if layout.recovery is Recovery.DFU else "; with this layout it does nothing",
        "next_update": _next_update(layout),
    }
    return fill(_TEMPLATES / template, values)


def _next_update(layout: Layout) -> str:
    """Say how the application asks for the next update, and what its loader expects of it."""
    if layout.recovery is Recovery.NONE:
        return ""
    lines = ["", "Call `splitflash_enter_dfu()` to take the next update over USB"]
    if layout.recovery is Recovery.ROM:
        lines[-1] += ": it restarts into the ROM bootloader, without BOOT0."
    else:
        lines[-1] += "."
    if layout.entry.watchdog_resets:
        lines += [
            "The loader has started the independent watchdog, with 32 seconds: feed it",
            "(`IWDG1->KR = 0xAAAA`), or set a shorter time of your own.",
            f"After {layout.entry.watchdog_resets} resets in a row, by a watchdog or by software,"
            " without `splitflash_alive()`",
            "the loader waits for an update.",
        ]
    return "\n".join([*lines, ""])


def _watchdog(layout: Layout) -> str:
    """Say in what state an application finds the independent watchdog."""
    if layout.entry.watchdog_resets:
        return "running, started by the loader"
    if layout.watchdog_is_hardware:
        return (
            "running since power-on (`watchdog: hardware`): feed it within 0.5 s"
            " (`IWDG1->KR = 0xAAAA`) or give it more time, before clocks are set up"
        )
    return "off (`watchdog: software`), unless production set IWDG1_SW=0"


FILES: dict[str, Callable[[Layout], str]] = {
    MEMORY_FILE: memory_fragment,
    HEADER_FILE: c_header,
    **{name: partial(_filled, name) for name in _FILLED},
}
"""Every exported file, and what makes it."""
