"""What an application needs to know of a layout: a GNU ld MEMORY fragment and a C header."""

from __future__ import annotations

from pathlib import Path

from packager import __version__
from packager.files import write_atomic
from packager.format import RESULT_MAGIC, RESULT_SIZE
from packager.format_c import struct_text
from packager.layout import Layout

LINKER_FRAGMENT = "splitflash_memory.ld"
HEADER = "splitflash_layout.h"


def export_layout(layout: Layout, directory: Path) -> list[Path]:
    """Write the linker fragment and the C header; return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    texts = {LINKER_FRAGMENT: linker_fragment(layout), HEADER: c_header(layout)}
    for name, text in texts.items():
        write_atomic(directory / name, text.encode())
    return [directory / name for name in texts]


def linker_fragment(layout: Layout) -> str:
    """Return the MEMORY command for the application's linker script."""
    lines = [
        "/* " + _made_by(layout) + " */",
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


def c_header(layout: Layout) -> str:
    """Return the C header with addresses and the result record."""
    lines = [
        "// " + _made_by(layout),
        "",
        "#ifndef SPLITFLASH_LAYOUT_H",
        "#define SPLITFLASH_LAYOUT_H",
        "",
        "#include <stdint.h>",
        "",
        f'#define SPLITFLASH_PRODUCT_ID "{layout.product_id}"',
        f'#define SPLITFLASH_LAYOUT_ID "{layout.layout_id.hex()}"',
    ]
    for name, span in layout.areas.items():
        symbol = "".join(c if c.isalnum() else "_" for c in name.upper())
        lines.append(f"#define SPLITFLASH_{symbol}_START 0x{span.start:08X}u")
        lines.append(f"#define SPLITFLASH_{symbol}_SIZE {span.size}u")
    lines += [
        f"#define SPLITFLASH_LARGEST_IMAGE {layout.largest_image}u",
        "",
        "// What the loader did before it started this application. Valid when magic is",
        f'// "{RESULT_MAGIC.decode()}" and crc is the CRC-32 (IEEE 802.3) of the bytes before it.',
        f"#define SPLITFLASH_RESULT_RECORD 0x{layout.result_record:08X}u",
        f"#define SPLITFLASH_RESULT_SIZE {RESULT_SIZE}u",
        struct_text("result_record").replace("struct result_record", "struct splitflash_result"),
        "#endif",
        "",
    ]
    return "\n".join(lines)


_RAM_NAMES = {"ITCM": "ITCM", "DTCM": "DTCM", "AXI SRAM": "RAM", "SRAM4": "SRAM4"}


def _made_by(layout: Layout) -> str:
    return (
        f"Made by splitflash {__version__} from {layout.path.name},"
        f" layout id {layout.layout_id.hex()}"
    )
