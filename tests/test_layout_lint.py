"""Warnings about layouts: what is allowed, but may not be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from packager.cli import run
from packager.layout import load_layout
from packager.layout_lint import LINTS, warnings_of

LAYOUTS = Path(__file__).parent.parent / "layouts"
DEFAULT = (LAYOUTS / "h743zi_app_bank2.yaml").read_text()
MIRROR = (LAYOUTS / "h743zi_app_bank1.yaml").read_text()

WARNINGS = [
    (
        "staging in bank 2",
        MIRROR,
        "areas.staging: lies in bank 2, ROM bootloaders 9.0 and 9.1 never report the end of an"
        " erase there, and stock dfu-util waits for ever; put it into bank 1, or have customers use"
        " 'splitflash drop' or STM32CubeProgrammer",
    ),
    (
        "staging smaller than the app area",
        DEFAULT.replace("0x08020000, size: 896K}", "0x08020000, size: 512K}").replace(
            "boot_check", "data: {log: {start: 0x080A0000, size: 384K}}\nboot_check"
        ),
        "areas.staging: holds updates of images of at most 523136 bytes, the app area would take"
        " 916480; enlarge staging or give the rest of the app area to something else",
    ),
    (
        "staging larger than the app area",
        DEFAULT.replace("0x08100000, size: 896K}", "0x08100000, size: 512K}").replace(
            "boot_check", "data: {log: {start: 0x08180000, size: 384K}}\nboot_check"
        ),
        "areas.staging: 896 KiB, the app area has 512 KiB, so no update needs more than a little"
        " above that; give the rest to the app or to data",
    ),
    (
        "a sector that belongs to nobody",
        DEFAULT.replace("0x08100000, size: 896K}", "0x08100000, size: 768K}"),
        "areas: 0x081C0000..0x081DFFFF belongs to nobody, a later layout may claim it; name it"
        " under data: if the application uses it",
    ),
    (
        "no check at start",
        DEFAULT.replace("boot_check: crc", "boot_check: off"),
        "boot_check: off, an application that was damaged after its install is started all the"
        " same; use crc unless the start is counted in microseconds",
    ),
    (
        "no way in but the application",
        DEFAULT.replace("recovery: rom", "recovery: none"),
        "recovery: none, only the application itself can bring an update into staging; one that"
        " crashes at its start cannot be replaced in the field; test releases on the virtual board"
        " and on a bench before they go out",
    ),
    (
        "its own DFU and no read-out protection",
        DEFAULT.replace("recovery: rom", "recovery: dfu\nentry: {double_reset: true}"),
        "rdp: 0 with 'recovery: dfu', by BOOT0 and the ROM bootloader anybody with a cable reads"
        " application and keys; set rdp: 1 or 2 for what is shipped",
    ),
    (
        "the result record in the application's main RAM",
        DEFAULT + "result_record: 0x24000000\n",
        "result_record: 0x24000000 is in AXI SRAM, the application's start-up code usually fills"
        " that before it can read the record; use 0x38000000, or keep the linker script away from"
        " those 64 bytes",
    ),
]


@pytest.mark.parametrize(
    ("text", "expected"), [row[1:] for row in WARNINGS], ids=[row[0] for row in WARNINGS]
)
def test_each_warning_has_its_reason(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "l.yaml"
    path.write_text(text)

    assert [warning.text() for warning in warnings_of(load_layout(path))] == [expected]


def test_every_lint_is_in_the_table() -> None:
    assert len(LINTS) == len(WARNINGS)
    assert all(lint.__doc__ for lint in LINTS)


@pytest.mark.parametrize("path", sorted(LAYOUTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_layouts_warn_of_nothing_but_the_mirror_of_its_bank(path: Path) -> None:
    keys = [warning.key for warning in warnings_of(load_layout(path))]

    assert keys == (["areas.staging"] if path.stem == "h743zi_app_bank1" else [])


def test_check_prints_warnings_with_their_line_and_succeeds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = LAYOUTS / "h743zi_app_bank1.yaml"

    assert run(["layout", "check", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "largest updatable image: 915968 bytes" in out
    lines = err.splitlines()
    assert lines[0].startswith(f"{path}:9:3: warning: areas.staging: lies in bank 2")
    assert lines[1:] == [
        "    9 |   staging: {start: 0x08100000, size: 896K}",
        "      |   ^^^^^^^",
    ]
