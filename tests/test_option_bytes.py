"""The checklist for production: values from the layout, protection last, nothing executed."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest
import workshop

import packager
from packager.chip import CHIPS, SECTOR_SIZE, Span
from packager.layout import Layout
from packager.option_bytes import checklist

PROTECTED = workshop.layout_named("h743_protected")
OPEN = workshop.layout_named(workshop.DEFAULT)


def commands(layout: Layout) -> list[str]:
    lines = [line.strip() for line in checklist(layout, "factory_SECRET.hex")]
    return [line for line in lines if line.startswith("STM32_Programmer_CLI")]


def test_a_product_at_level_1_gets_its_image_its_options_and_last_its_protection() -> None:
    assert commands(PROTECTED) == [
        "STM32_Programmer_CLI -c port=SWD mode=UR -w factory_SECRET.hex -v",
        "STM32_Programmer_CLI -c port=SWD mode=UR -ob BOR_LEV=3 IWDG1_SW=1 SWAP_BANK_OPT=0"
        " BOOT_CM7_ADD0=0x0800 BOOT_CM7_ADD1=0x1FF0 nWRP0=0",
        "STM32_Programmer_CLI -c port=SWD mode=UR -ob displ",
        "STM32_Programmer_CLI -c port=SWD mode=UR -ob BOOT_CM7_ADD1=0x0800",
        "STM32_Programmer_CLI -c port=SWD mode=UR -ob RDP=0xBB",
    ]


def test_level_2_is_called_final() -> None:
    text = "\n".join(checklist(replace(PROTECTED, rdp=2), "f.hex"))

    assert commands(replace(PROTECTED, rdp=2))[-1].endswith("-ob RDP=0xCC")
    assert "FINAL" in text


def test_without_protection_boot0_keeps_leading_to_the_rom_and_nothing_is_locked() -> None:
    assert "BOOT_CM7_ADD1=0x1FF0" in commands(OPEN)[1]
    assert not any("RDP" in command for command in commands(OPEN))


@pytest.mark.parametrize(("supply", "level"), [(1950, 0), (2250, 1), (2550, 2), (2850, 3)])
def test_the_brown_out_level_is_the_highest_the_supply_allows(supply: int, level: int) -> None:
    assert f"BOR_LEV={level} " in commands(replace(OPEN, supply_mv=supply))[1]


def test_the_watchdog_runs_from_power_on_where_the_layout_says_so() -> None:
    assert " IWDG1_SW=1 " in commands(OPEN)[1]
    assert " IWDG1_SW=0 " in commands(replace(OPEN, watchdog_is_hardware=True))[1]


@pytest.mark.parametrize(
    ("chip", "span", "sectors"),
    [
        ("stm32h743xi", Span(0x0800_0000, 1), ((1, 0),)),
        ("stm32h743xi", Span(0x080E_0000, 4 * SECTOR_SIZE), ((1, 7), (2, 0), (2, 1), (2, 2))),
        ("stm32h743xg", Span(0x0816_0000, SECTOR_SIZE), ((2, 3),)),
        ("stm32h743xg", Span(0x0808_0000, SECTOR_SIZE), ()),
    ],
)
def test_sectors_are_counted_within_their_bank(
    chip: str, span: Span, sectors: tuple[tuple[int, int], ...]
) -> None:
    assert CHIPS[chip].sectors_of(span) == sectors


def test_no_line_of_the_package_starts_the_programmer() -> None:
    for path in Path(packager.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and "subprocess" in ast.unparse(node.func):
                assert "STM32_Programmer" not in ast.unparse(node), path
