"""The C header of a layout: addresses, and all about the result record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum

from packager.export.c_door import c_door
from packager.export.origin import made_by
from packager.format import RESULT_MAGIC, RESULT_SIZE
from packager.format_c import struct_text
from packager.layout import Layout
from packager.reasons import EXPLANATIONS
from packager.records import Action


def c_header(layout: Layout) -> str:
    """Return the header; its first line, a comment, says who made it."""
    lines = [
        f"// {made_by(layout)}",
        "",
        "#ifndef SPLITFLASH_LAYOUT_H",
        "#define SPLITFLASH_LAYOUT_H",
        "",
        "#include <stddef.h>",
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
        f"#define SPLITFLASH_RESULT_RECORD 0x{layout.result_record:08X}u",
        "",
        "// What the loader did before it started this application.",
        "enum splitflash_action {",
        *_enumerators("ACTION", ((action, text) for action, text in _ACTIONS.items())),
        "};",
        "",
        "// Why it refused an update.",
        "enum splitflash_reason {",
        *_enumerators("REASON", ((reason, text.meaning) for reason, text in EXPLANATIONS.items())),
        "};",
        "",
        "// The loader writes this just before it starts the application.",
        struct_text("result_record").replace("struct result_record", "struct splitflash_result"),
        _RESULT_FUNCTIONS,
        c_door(layout),
        "#endif",
        "",
    ]
    return "\n".join(lines)


def _enumerators(prefix: str, members: Iterable[tuple[IntEnum, str]]) -> Iterator[str]:
    for member, text in members:
        yield f"    // {text}"
        yield f"    SPLITFLASH_{prefix}_{member.name} = {member.value},"


_ACTIONS = {
    Action.BOOTED: "no update was staged, the installed application was started",
    Action.INSTALLED: "the staged update was installed: this start is its first",
    Action.REFUSED: "the staged update was refused and cleared away, see reason",
    Action.ALREADY_INSTALLED: "the staged update is the installed one and was cleared away",
}

_RESULT_FUNCTIONS = f"""\
_Static_assert(sizeof(struct splitflash_result) == {RESULT_SIZE}, "no padding");

// The record at this place, or NULL if magic or CRC-32 (IEEE 802.3) are wrong.
static inline const struct splitflash_result *
splitflash_check_result(const void *place)
{{
    const size_t checked = offsetof(struct splitflash_result, crc);
    const struct splitflash_result *result = place;
    const uint8_t *bytes = place;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < checked; i++) {{
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {{
            crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1u)));
        }}
    }}
    uint32_t wrong = ~crc ^ result->crc;
    for (size_t i = 0; i < sizeof result->magic; i++) {{
        wrong |= (uint32_t)(bytes[i] ^ (uint8_t)"{RESULT_MAGIC.decode()}"[i]);
    }}
    return wrong ? NULL : result;
}}

// What the loader left, or NULL if this start did not come from the loader.
// Call it before anything else uses that RAM.
static inline const struct splitflash_result *
splitflash_read_result(void)
{{
    return splitflash_check_result((const void *)SPLITFLASH_RESULT_RECORD);
}}
"""
