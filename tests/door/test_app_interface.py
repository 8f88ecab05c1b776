"""What an application tells the loader: the exported functions, on the virtual board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import workshop
from workshop import Workshop

from packager.export import HEADER_FILE, SCRIPT_FILE, export_layout
from packager.export.c_header import c_header
from packager.format import Recovery
from packager.image import load_image
from packager.resources import loader_sources
from packager.sim.board import Board, Outcome
from packager.toolchain import compile_link

MAIN = f"""
#include "{HEADER_FILE}"

int
main(void)
{{
    %s
    for (;;) {{
        *(volatile uint32_t *)0x58004800u = 0xAAAAu;
    }}
}}
"""


ASK_ONCE = (
    "if (!(*(volatile uint32_t *)0x38000100u ^ 7u)) { for (;;) { } }"
    " *(volatile uint32_t *)0x38000100u = 7u; splitflash_enter_dfu();"
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """The protected product with its loader."""
    tool = workshop.needs("gcc")
    layout = workshop.layout_named("h743_protected")
    return workshop.make_workshop(tmp_path_factory.mktemp("door"), layout, tool)


def board_running(shop: Workshop, folder: Path, statements: str, level: int = 1) -> Board:
    """Return a factory-fresh board at this level whose application does this and stays alive."""
    export_layout(shop.layout, folder)
    source = folder / "main.c"
    source.write_text(MAIN % statements)
    startup = loader_sources() / "examples" / "startup.c"
    elf = compile_link(
        [source, startup],
        folder / SCRIPT_FILE,
        folder / "app.elf",
        toolchain="gcc",
        include=[folder],
    )
    board = shop.board(load_image(elf, shop.layout).data)
    board.protect(level)
    return board


def test_an_application_that_asks_is_in_the_loaders_dfu(shop: Workshop, tmp_path: Path) -> None:
    board = board_running(shop, tmp_path, "splitflash_enter_dfu();")

    report = board.boot()

    assert report.outcome is Outcome.STAYS_IN_DFU
    assert report.resets == ["reset"]


def test_the_request_counts_once(shop: Workshop, tmp_path: Path) -> None:
    board = board_running(
        shop,
        tmp_path,
        ASK_ONCE,
    )
    assert board.boot().outcome is Outcome.STAYS_IN_DFU

    assert board.press_reset().outcome is Outcome.APP_RUNS


def test_two_presses_of_reset_open_it_while_the_application_is_silent(
    shop: Workshop, tmp_path: Path
) -> None:
    board = board_running(shop, tmp_path, "")
    assert board.boot().outcome is Outcome.APP_RUNS

    assert board.press_reset().outcome is Outcome.STAYS_IN_DFU


def test_they_only_restart_an_application_that_said_that_it_is_alive(
    shop: Workshop, tmp_path: Path
) -> None:
    board = board_running(shop, tmp_path, "splitflash_alive();")
    assert board.boot().outcome is Outcome.APP_RUNS

    assert board.press_reset().outcome is Outcome.APP_RUNS
    assert board.press_reset().outcome is Outcome.APP_RUNS


def test_power_supply_and_its_write_protection_are_left_as_they_were(
    shop: Workshop, tmp_path: Path
) -> None:
    board = board_running(
        shop,
        tmp_path,
        "splitflash_alive(); "
        "*(volatile uint32_t *)0x38000100u = *(volatile uint32_t *)0x58024800u;",
    )
    board.boot()

    assert int.from_bytes(board.read(0x3800_0100, 4), "little") == 0xF000_C000


@pytest.mark.parametrize(("level", "outcome"), [(0, Outcome.STAYS_IN_ROM), (1, Outcome.APP_RUNS)])
def test_over_the_rom_it_comes_back_there_if_the_chip_is_open_and_restarts_otherwise(
    build: workshop.Build, tmp_path: Path, level: int, outcome: Outcome
) -> None:
    board = board_running(build(workshop.DEFAULT, "gcc"), tmp_path, ASK_ONCE, level)

    report = board.boot()

    assert report.outcome is outcome
    assert report.resets == ["reset"]


@pytest.mark.parametrize("recovery", [Recovery.ROM, Recovery.NONE])
def test_a_loader_that_counts_no_failures_is_told_nothing(recovery: Recovery) -> None:
    layout = replace(workshop.layout_named(workshop.DEFAULT), recovery=recovery)
    text = c_header(layout)
    _, _, alive = text.partition("splitflash_alive(void)\n")

    assert alive.startswith("{\n}\n")


def test_a_loader_that_takes_nothing_over_usb_offers_no_way_to_it() -> None:
    layout = replace(workshop.layout_named(workshop.DEFAULT), recovery=Recovery.NONE)

    assert "#define SPLITFLASH_HAS_DFU 0\n" in c_header(layout)
    assert "splitflash_enter_dfu" not in c_header(layout)
    assert "#define SPLITFLASH_HAS_DFU 1\n" in c_header(workshop.layout_named(workshop.DEFAULT))
