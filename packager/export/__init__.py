"""What an application's project gets from a layout; every file says which layout made it.

Linker script, CMake module and notes are the files in ``templates/``, with ``@name@`` filled in.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from packager.chip import BOOT_ADDRESS
from packager.errors import FormatError
from packager.export.c_header import c_header
from packager.export.memory import memory_fragment
from packager.export.origin import made_by
from packager.files import write_atomic
from packager.format import Recovery
from packager.layout import Layout

MEMORY_FILE = "splitflash_memory.ld"
SCRIPT_FILE = "splitflash_app.ld"
HEADER_FILE = "splitflash_layout.h"
CMAKE_FILE = "splitflash.cmake"
NOTES_FILE = "CUBEIDE.md"

_TEMPLATES = Path(__file__).parent / "templates"


def export_layout(layout: Layout, directory: Path) -> list[Path]:
    """Write every file; return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        write_atomic(directory / name, text(layout).encode())
    return [directory / name for name in FILES]


def check_export(layout: Layout, directory: Path) -> None:
    """Return only if every file is there just as it would be written now.

    Raises:
        FormatError: one is missing or differs.
    """
    for name, text in FILES.items():
        path = directory / name
        found = path.read_bytes() if path.is_file() else b""
        if found != text(layout).encode():
            problem = "differs from" if found else "is missing for"
            raise FormatError(
                str(path),
                f"{problem} {layout.path.name}",
                f"expected the export of layout id {layout.layout_id.hex()}",
                f"run: splitflash layout export {layout.path} -o {directory}",
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
        "own_dfu": _own_dfu(layout),
    }
    text = (_TEMPLATES / template).read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], text)


def _own_dfu(layout: Layout) -> str:
    """Say what the loader expects of the application where it has a DFU of its own."""
    if layout.recovery is not Recovery.DFU:
        return ""
    lines = [
        "",
        "Call `splitflash_alive()` when the application has shown that it works, and",
        "`splitflash_enter_dfu()` to take the next update over USB; both are in that header.",
    ]
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
    **{name: partial(_filled, name) for name in (SCRIPT_FILE, CMAKE_FILE, NOTES_FILE)},
}
"""Every exported file, and what makes it."""
