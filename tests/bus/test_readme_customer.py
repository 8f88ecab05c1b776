"""What README tells the customer to type, word for word on the mocked bus."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import workshop
from test_readme import section, shell_blocks

from packager.hex_file import write_hex

from .mocked_bus import Ended, MockedBus
from .scene import NEW, Product

BLOCKS = shell_blocks(section("For the customer: install an update"))
Run = Callable[[str], Ended]


@pytest.fixture
def thing(product: Callable[[str], Product]) -> Product:
    return product(workshop.DEFAULT)


@pytest.fixture
def run(bus: MockedBus, dfu_util: str, thing: Product, tmp_path: Path) -> Run:
    (tmp_path / "update-1.4.2.bin").write_bytes(thing.update)
    as_hex = write_hex({thing.layout.staging.start: thing.update})
    (tmp_path / "update-1.4.2.hex").write_bytes(as_hex)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def run(block: str) -> Ended:
        return bus.run(["sh", "-euc", block], cwd=tmp_path, extra={"PATH": path})

    return run


def test_the_blocks_are_ours_and_dfu_utils() -> None:
    commands = [line.split()[:2] for block in BLOCKS for line in block.splitlines()]
    assert commands == [["splitflash", "doctor"], ["splitflash", "drop"], ["dfu-util", "-a"]]


@pytest.mark.parametrize("rom_id", [0xD2, 0xD3, 0x90, 0x91, 0x92], ids=hex)
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split()[0])
def test_it_installs_the_update_at_the_next_power_on(
    bus: MockedBus, run: Run, thing: Product, rom_id: int, block: str
) -> None:
    board = thing.board(rom_id)
    with bus.with_board(board):
        ended = run(block)
    assert ended.code == 0, ended.out
    assert thing.power_cycle(board) == NEW


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split()[0])
def test_done_again_it_still_works(bus: MockedBus, run: Run, thing: Product, block: str) -> None:
    """After an unplug in the middle, as README says."""
    board = thing.board()
    board.boot(boot0=True, cut="100-torn")
    with bus.with_board(board):
        assert run(block).code
    board.boot(boot0=True)
    with bus.with_board(board):
        ended = run(block)
    assert ended.code == 0, ended.out
    assert thing.power_cycle(board) == NEW
