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
PROTECTED = (LAYOUTS / "h743_protected.yaml").read_text()

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
        DEFAULT.replace("0x08100000, size: 896K}", "0x08100000, size: 512K}")
        .replace("0x08020000, size: 896K}", "0x08020000, size: 768K}")
        .replace(
            "boot_check",
            "data:\n  log: {start: 0x080E0000, size: 128K}\n"
            "  tables: {start: 0x08180000, size: 384K}\nboot_check",
        ),
        "areas.staging: 768 KiB, the app area has 512 KiB, so no update needs more than a little"
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
        "result_record: 0x24000000 is in the application's RAM (0x24000000..0x2407FFFF), its"
        " start-up code fills that with data and stack before it can read the record; move the"
        " record, or let app_ram end before it",
    ),
    (
        "a watchdog that runs from power-on",
        DEFAULT + "watchdog: hardware\n",
        "watchdog: hardware, it bites 0.5 s after the loader's last feed, so an application that"
        " feeds it later never gets further, old releases included; feed it or set a longer time"
        " first thing in every release, and freeze it in the debugger (DBGMCU_APB4FZ1)",
    ),
    (
        "data only in the bank in which the application runs",
        DEFAULT.replace("0x08100000, size: 896K}", "0x08100000, size: 768K}").replace(
            "boot_check", "data: {log: {start: 0x081C0000, size: 128K}}\nboot_check"
        ),
        "data.log: lies in bank 2, where the app runs, and so does every other data area, writing"
        " there stops the core, interrupts included, for up to 4 s of an erase; put what is"
        " written often into the other bank, or keep what must go on in RAM",
    ),
    (
        "a supply below every brown-out level",
        DEFAULT.replace("supply_mv: 2700", "supply_mv: 1950"),
        "supply_mv: 1950, the lowest brown-out level is 2100 mV, so the chip runs on without one"
        " while its supply breaks down; use 2100 or more unless the supply is that low by design",
    ),
    (
        "USB ids of its own",
        PROTECTED.replace("usb: {", "usb: {pid: 0xDF12, "),
        "usb.pid: ids 0483:df12, STM32CubeProgrammer and udev rules for the ROM bootloader look for"
        " 0483:df11, and 'splitflash kit' refuses others; give the customer splitflash and a udev"
        " rule for them, or leave out vid and pid",
    ),
]


@pytest.mark.parametrize(
    ("text", "expected"), [row[1:] for row in WARNINGS], ids=[row[0] for row in WARNINGS]
)
def test_each_warning_has_its_reason(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "l.yaml"
    path.write_text(text)

    assert [warning.text() for warning in warnings_of(load_layout(path))] == [expected]


@pytest.mark.parametrize(
    "text",
    [
        DEFAULT + "app_ram: DTCM\nresult_record: 0x24000000\n",
        DEFAULT + "app_ram: {start: 0x24000000, size: 511K}\nresult_record: 0x2407FC00\n",
        PROTECTED + "watchdog: hardware\n",  # the loader gives it 32 seconds there
    ],
    ids=["record in another RAM", "record behind the RAM", "watchdog of the loader's"],
)
def test_what_does_no_harm_is_not_warned_of(tmp_path: Path, text: str) -> None:
    path = tmp_path / "l.yaml"
    path.write_text(text)

    assert warnings_of(load_layout(path)) == []


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
