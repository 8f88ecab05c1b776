"""The kit's script for dfu-util, run by sh with the stock dfu-util on virtual boards."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import workshop

from packager.kit.make import make_kit

from .mocked_bus import Ended, MockedBus
from .permission import as_a_mortal, closed
from .scene import NEW, OLD, Product

SCRIPT = "install-with-dfu-util.sh"
DONE, NOT_WRITTEN, NO_DEVICE, SEVERAL, NO_PERMISSION, PROTECTED = 0, 10, 11, 12, 13, 14
"""Exit codes, as the script's head names them."""
Run = Callable[..., Ended]


@pytest.fixture
def thing(product: Callable[[str], Product]) -> Product:
    return product(workshop.DEFAULT)


@pytest.fixture(scope="module")
def kit(product: Callable[[str], Product], tmp_path_factory: pytest.TempPathFactory) -> Path:
    thing = product(workshop.DEFAULT)
    folder = tmp_path_factory.mktemp("kit")
    (folder / "update.bin").write_bytes(thing.update)
    make_kit(folder / "update.bin", folder / "made", thing.layout.path)
    return folder / "made"


@pytest.fixture
def run(bus: MockedBus, dfu_util: str, kit: Path) -> Run:
    def run(*before: str, folder: Path = kit) -> Ended:
        return bus.run([*before, "sh", folder / SCRIPT])

    return run


@pytest.mark.parametrize("rom_id", [0xD2, 0xD3, 0x90, 0x91, 0x92], ids=hex)
def test_it_brings_the_update_into_a_board_with_any_rom(
    bus: MockedBus, run: Run, thing: Product, rom_id: int
) -> None:
    board = thing.board(rom_id)
    with bus.with_board(board):
        ended = run()
    assert ended.code == DONE, ended.out
    assert "DONE: the update is in the device" in ended.out
    assert thing.power_cycle(board) == NEW


def test_it_may_be_run_again(bus: MockedBus, run: Run, thing: Product) -> None:
    board = thing.board()
    with bus.with_board(board):
        assert run().code == DONE
        assert run().code == DONE
    assert thing.power_cycle(board) == NEW


def test_without_a_device_it_says_so(run: Run) -> None:
    ended = run()
    assert ended.code == NO_DEVICE, ended.out
    assert "set BOOT0 to ON" in ended.out


def test_with_two_devices_it_writes_to_none(bus: MockedBus, run: Run, thing: Product) -> None:
    boards = thing.board(), thing.board()
    with bus.with_board(boards[0]), bus.with_board(boards[1], port=2):
        ended = run()
    assert ended.code == SEVERAL, ended.out
    assert not any(board.flash.operations for board in boards)


def test_a_protected_device_is_told_from_a_broken_one(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    board = thing.board(protected=True)
    with bus.with_board(board):
        ended = run()
    assert ended.code == PROTECTED, ended.out
    assert "Never let any program remove the protection" in ended.out
    assert thing.power_cycle(board) == OLD


def test_without_permission_it_says_so(bus: MockedBus, run: Run, thing: Product) -> None:
    board = thing.board()
    with bus.with_board(board), closed(bus.device_node()):
        ended = run(*as_a_mortal())
    assert ended.code == NO_PERMISSION, ended.out
    assert not board.flash.operations


def test_unplugged_in_the_middle_it_says_begin_again_and_then_it_works(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    board = thing.board()
    board.boot(boot0=True, cut="100-torn")
    with bus.with_board(board):
        ended = run()
    assert ended.code == NOT_WRITTEN, ended.out
    board.boot(boot0=True)
    with bus.with_board(board):
        assert run().code == DONE
    assert thing.power_cycle(board) == NEW


def test_a_board_that_lies_about_its_write_protection_is_caught(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    board = thing.board()
    board.flash.options = board.flash.options.with_write_protection(1, {1})
    with bus.with_board(board):
        ended = run()
    assert ended.code == 15, ended.out
    assert thing.power_cycle(board) == OLD


def test_a_damaged_kit_touches_no_device(
    bus: MockedBus, run: Run, thing: Product, kit: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(kit, damaged)
    update = next(damaged.glob("*.bin"))
    update.write_bytes(update.read_bytes()[:-1] + b"\0")
    board = thing.board()
    with bus.with_board(board) as recorder:
        ended = run(folder=damaged)
    assert ended.code == 4, ended.out
    assert not recorder.transfers


def test_there_is_no_script_where_dfu_util_would_wait_for_ever(
    product: Callable[[str], Product], tmp_path: Path
) -> None:
    thing = product(workshop.MIRROR)
    (tmp_path / "update.bin").write_bytes(thing.update)
    make_kit(tmp_path / "update.bin", tmp_path / "kit", thing.layout.path)
    assert not (tmp_path / "kit" / SCRIPT).exists()
