"""A factory line's last look at a device, through pyusb and the real libusb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import workshop

from packager.errors import ProtectedError, VerifyMismatchError
from packager.factory import build_factory, write_factory
from packager.loader_file import read_loader
from packager.sim.board import Board
from packager.virtual_flash import set_options

from .mocked_bus import Ended, MockedBus
from .scene import Product

Check = Callable[[Board], Ended]


@pytest.fixture
def thing(product: Callable[[str], Product]) -> Product:
    return product(workshop.DEFAULT)


@pytest.fixture
def check(bus: MockedBus, splitflash: tuple[str, ...], thing: Product, tmp_path: Path) -> Check:
    loader = read_loader(thing.shop.loader.elf)
    pieces = build_factory(thing.old, loader, thing.layout, 0x0100_0000, 1)
    write_factory(tmp_path / "f.hex", pieces)
    given = ("--factory", "f.hex", "--layout", str(thing.layout.path), "--keys")
    command = (*splitflash, "factory", "check", *given, str(thing.shop.keys))

    def check(board: Board) -> Ended:
        before = board.snapshot()
        with bus.with_board(board):
            ended = bus.run(command, cwd=tmp_path)
        assert board.snapshot() == before
        return ended

    return check


def in_its_rom(thing: Product, rom_id: int = 0x92) -> Board:
    board = thing.board(rom_id)
    board.power_off()
    set_options(board, thing.layout)
    board.boot(boot0=True)
    return board


@pytest.mark.parametrize("rom_id", [0xD2, 0xD3, 0x90, 0x91, 0x92], ids=hex)
def test_a_new_device_is_good_with_every_rom(check: Check, thing: Product, rom_id: int) -> None:
    ended = check(in_its_rom(thing, rom_id))

    assert ended.code == 0, ended.out
    assert "good: 13 checks, nothing differs" in ended.out


def test_a_flipped_bit_is_named(check: Check, thing: Product) -> None:
    board = in_its_rom(thing)
    byte = board.read(thing.layout.app.start, 1)[0]
    board.power_off()
    board.program({thing.layout.app.start: bytes([byte ^ 1]) + thing.old[1:]})
    board.boot(boot0=True)

    ended = check(board)

    assert ended.code == VerifyMismatchError.exit_code
    assert "app: 1 byte differs, at 0x08100000" in ended.out


def test_a_protected_device_says_so(check: Check, thing: Product) -> None:
    ended = check(thing.board(protected=True))

    assert ended.code == ProtectedError.exit_code
    assert "before their read-out protection is set" in ended.out
