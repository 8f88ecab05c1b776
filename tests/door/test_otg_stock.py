"""The distribution's dfu-util against a read-protected board whose loader is on USB itself."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import workshop
from bus.conftest import bus, dfu_util  # noqa: F401 - fixtures
from bus.mocked_bus import Ended, MockedBus

from packager.sim.board import Board, Outcome
from packager.sim.options import RDP_LEVEL_1

from .otg_scene import AT_ONCE, LAYOUT, Product, device_of

OK, USAGE, IO_ERROR = 0, 64, 74
HANG = bytes.fromhex("fee7")
"""b .: an application that hangs in its first instruction."""


@pytest.fixture(scope="module")
def product(build: workshop.Build) -> Product:
    return Product(build(LAYOUT))


@pytest.fixture
def run(bus: MockedBus, dfu_util: str, product: Product, tmp_path: Path) -> Callable[..., Ended]:  # noqa: F811
    (tmp_path / "update.bin").write_bytes(product.update)
    (tmp_path / "update.dfu").write_bytes(product.dfuse)

    def run(board: Board, *arguments: str, **how: Any) -> Ended:
        with bus.with_board(board):
            return bus.run([dfu_util, *arguments], cwd=tmp_path, **how)

    return run


Run = Callable[..., Ended]
LEVELS = pytest.mark.parametrize("level", [1, 2])


def raw(product: Product) -> tuple[str, ...]:
    return "-a", "0", "-s", hex(product.layout.staging.start), "-D", "update.bin"


@LEVELS
def test_it_lists_staging_and_the_boards_own_serial(run: Run, product: Product, level: int) -> None:
    ended = run(product.in_dfu(level), "-l")
    assert ended.code == OK
    found = re.findall(r'alt=(\d), name="(.*?)", serial="(.*?)"', ended.out)
    assert [(alt, name) for alt, name, _ in found] == [
        ("0", "@Internal Flash   /0x08020000/07*128Kg")
    ]
    assert len(found[0][2]) == 24


@LEVELS
@pytest.mark.parametrize("file", ["raw", "dfuse"])
def test_an_update_is_written_and_the_next_power_on_installs_it(
    run: Run, product: Product, level: int, file: str
) -> None:
    board = product.in_dfu(level)
    what = raw(product) if file == "raw" else ("-a", "0", "-D", "update.dfu")
    ended = run(board, *what)
    assert ended.code == OK, ended.out
    assert product.runs(board) == product.new


@LEVELS
def test_with_leave_it_installs_at_once(run: Run, product: Product, level: int) -> None:
    board = product.in_dfu(level)
    start = f"{product.layout.staging.start:#x}:leave"
    ended = run(board, "-a", "0", "-s", start, "-D", "update.bin")
    assert ended.code == OK, ended.out
    report = board.go_on()
    assert report.resets == ["reset"]
    assert report.outcome is Outcome.APP_RUNS
    assert product.shop.app_is(board, product.new)


@LEVELS
def test_leave_on_its_own_restarts_the_application(run: Run, product: Product, level: int) -> None:
    board = product.in_dfu(level)
    assert run(board, "-a", "0", "-s", "0x08000000:leave").code == OK
    assert board.go_on().outcome is Outcome.APP_RUNS


@LEVELS
def test_what_was_written_is_read_back(
    run: Run, product: Product, tmp_path: Path, level: int
) -> None:
    board = product.in_dfu(level)
    assert run(board, *raw(product)).code == OK
    where = f"{product.layout.staging.start:#x}:{len(product.update)}"
    assert run(board, "-a", "0", "-s", where, "-U", "back.bin").code == OK
    assert (tmp_path / "back.bin").read_bytes() == product.update


@pytest.mark.parametrize("where", ["0x08000000", "0x08000600", "0x08100000"])
def test_it_reads_and_writes_nothing_outside_staging(
    run: Run, product: Product, tmp_path: Path, where: str
) -> None:
    board = product.in_dfu(1)
    before = product.outside(board)
    read = run(board, "-a", "0", "-s", f"{where}:1024:force", "-U", "stolen.bin")
    assert read.code != OK
    stolen = tmp_path / "stolen.bin"
    assert not stolen.exists() or not stolen.read_bytes()
    for force in ("", ":force"):
        assert run(board, "-a", "0", "-s", where + force, "-D", "update.bin").code != OK
    assert product.outside(board) == before


def test_mass_erase_and_unprotect_do_not_reach_further(run: Run, product: Product) -> None:
    board = product.in_dfu(1)
    before = product.outside(board)
    start = hex(product.layout.staging.start)
    run(board, "-a", "0", "-s", f"{start}:unprotect:force", "-D", "update.bin")
    run(board, "-a", "0", "-s", f"{start}:mass-erase:force", "-D", "update.bin")
    assert product.outside(board) == before
    assert board.flash.options.rdp_level == 1
    assert device_of(board).is_on_bus


def test_an_interrupted_drop_is_repeated(run: Run, product: Product) -> None:
    board = product.in_dfu(2)
    device = device_of(board)
    device.unplug_at = device.transfers + 30
    assert run(board, *raw(product)).code == IO_ERROR
    assert product.runs(board) == product.old
    product.enter(board)
    assert run(board, *raw(product)).code == OK
    assert product.runs(board) == product.new


@LEVELS
def test_an_application_that_hangs_in_its_first_instruction_is_replaced(
    run: Run, product: Product, level: int
) -> None:
    shop, layout = product.shop, product.layout
    hanging = bytearray(product.old)
    entry = (int.from_bytes(hanging[4:8], "little") & ~1) - layout.app.start
    hanging[entry : entry + 2] = HANG
    board = shop.board(bytes(hanging))
    board.protect(level)
    report = board.boot(limit_seconds=600.0, app_seconds=600.0)
    assert report.outcome is Outcome.STAYS_IN_DFU
    assert report.resets == ["watchdog"] * 3
    assert run(board, *raw(product)).code == OK
    assert product.runs(board) == product.new


def test_the_rom_of_the_same_board_refuses(run: Run, product: Product) -> None:
    board = product.board(1)
    assert board.flash.options.optsr >> 8 & 0xFF == RDP_LEVEL_1
    assert board.boot(boot0=True).outcome is Outcome.STAYS_IN_ROM
    ended = run(board, *raw(product))
    assert ended.code == IO_ERROR
    assert "ERASE_PAGE not correctly executed" in ended.out
    assert not board.flash.operations
    at_level_2 = product.board(2)
    assert at_level_2.boot(boot0=True, app_seconds=AT_ONCE).outcome is Outcome.APP_RUNS
    assert at_level_2.device is None
