"""The distribution's dfu-util with its libusb against the virtual board."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import workshop

from packager.dfu.constants import Request
from packager.sim.board import Outcome

from .mocked_bus import Ended, MockedBus
from .scene import NEW, OLD, Product, stop_answering

OK, BAD_DATA, IO_ERROR = 0, 65, 74
"""Exit codes of dfu-util (sysexits)."""
MIDDLE = "100-torn"
"""A power cut in the middle of the update: the erase and 99 flash words are done."""


@pytest.fixture
def thing(product: Callable[[str], Product]) -> Product:
    return product(workshop.DEFAULT)


@pytest.fixture
def files(thing: Product, tmp_path: Path) -> Path:
    """What a customer gets."""
    (tmp_path / "update.bin").write_bytes(thing.update)
    (tmp_path / "update.dfu").write_bytes(thing.dfuse(thing.update))
    return tmp_path


@pytest.fixture
def run(bus: MockedBus, dfu_util: str, files: Path) -> Callable[..., Ended]:
    def run(*arguments: str, **how: Any) -> Ended:
        return bus.run([dfu_util, *arguments], cwd=files, **how)

    return run


Run = Callable[..., Ended]


def raw(thing: Product) -> tuple[str, ...]:
    return "-a", "0", "-s", thing.staging, "-D", "update.bin"


def test_it_lists_both_memories_and_the_serial(bus: MockedBus, run: Run, thing: Product) -> None:
    with bus.with_board(thing.board(0x90)):
        ended = run("-l")
    assert ended.code == OK
    found = re.findall(r'path="(.*?)", alt=(\d), name="(.*?)", serial="(.*?)"', ended.out)
    assert sorted(found) == [
        ("1-1", "0", "@Internal Flash   /0x08000000/16*128Kg", "200364500000"),
        ("1-1", "1", "@Option Bytes   /0x5200201C/01*128 e", "200364500000"),
    ]


def test_it_lists_nothing_and_succeeds_when_nothing_is_there(bus: MockedBus, run: Run) -> None:
    ended = run("-l")
    assert (ended.code, "Found DFU" in ended.out) == (OK, False)


def test_a_raw_update_is_installed_at_the_next_power_on(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    board = thing.board()
    with bus.with_board(board):
        ended = run(*raw(thing))
    assert ended.code == OK, ended.out
    assert board.read(thing.layout.staging.start, len(thing.update)) == thing.update
    assert thing.power_cycle(board) == NEW


def test_a_dfu_file_is_installed_at_the_next_power_on(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    board = thing.board()
    with bus.with_board(board):
        ended = run("-a", "0", "-D", "update.dfu")
    assert ended.code == OK, ended.out
    assert "Warning" not in ended.out
    assert thing.power_cycle(board) == NEW


def test_an_update_over_several_sectors_is_installed(
    bus: MockedBus, run: Run, thing: Product, files: Path
) -> None:
    board, image = thing.board(), thing.shop.image(150_000, seed=3)
    update = thing.shop.update(image)
    (files / "update.bin").write_bytes(update)
    with bus.with_board(board):
        ended = run(*raw(thing))
    assert ended.code == OK, ended.out
    assert workshop.runs(board.boot(strict=False))
    assert thing.shop.app_is(board, image)


@pytest.mark.parametrize("by_length_sent", [False, True])
def test_what_was_written_can_be_read_back_in_whole_blocks(
    bus: MockedBus, run: Run, thing: Product, files: Path, by_length_sent: bool
) -> None:
    """The last, shortened request comes out right only if the ROM counts in wTransferSize."""
    board, size = thing.board(), len(thing.update)
    assert board.rom
    board.rom.address_by_length_sent = by_length_sent
    whole = size + -size % 1024
    with bus.with_board(board):
        assert run(*raw(thing)).code == OK
        assert run("-a", "0", "-s", f"{thing.staging}:{whole}", "-U", "whole.bin").code == OK
        assert run("-a", "0", "-s", f"{thing.staging}:{size}", "-U", "exact.bin").code == OK
    assert (files / "whole.bin").read_bytes() == thing.update + b"\xff" * (whole - size)
    assert ((files / "exact.bin").read_bytes() == thing.update) is not by_length_sent


@pytest.mark.parametrize("early", [False, True], ids=["answers", "vanishes"])
@pytest.mark.parametrize("rom_id", [0xD2, 0x90, 0x91, 0x92], ids=hex)
def test_a_leave_of_its_own_starts_the_loader_which_installs(
    bus: MockedBus, run: Run, thing: Product, rom_id: int, early: bool
) -> None:
    board = thing.board(rom_id)
    assert board.rom
    board.rom.leave_drops_early = early
    with bus.with_board(board):
        assert run(*raw(thing)).code == OK
        ended = run("-a", "0", "-s", "0x08000000:leave")
    assert ended.code == (IO_ERROR if early else OK), ended.out
    assert board.boot_after_leave(strict=False).outcome is Outcome.APP_RUNS
    assert thing.shop.app_is(board, thing.new)


def test_a_leave_in_the_same_run_jumps_into_the_update_and_costs_nothing(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    """The ROM jumps to where the file went; it finds no stack pointer there and resets the chip."""
    board = thing.board()
    with bus.with_board(board):
        ended = run("-a", "0", "-s", f"{thing.staging}:leave", "-D", "update.bin")
    assert ended.code == OK, ended.out
    report = board.boot_after_leave(strict=False)
    assert report.outcome is Outcome.APP_RUNS
    assert report.resets == ["reset"]
    assert thing.shop.app_is(board, thing.new)


def test_it_waits_for_a_board_to_be_plugged_in(bus: MockedBus, run: Run, thing: Product) -> None:
    board = thing.board()

    def plug_in() -> None:
        bus.wait_for_listener()
        bus.plug(board, announce=True)

    try:
        ended = run("-w", *raw(thing), meanwhile=plug_in)
    finally:
        bus.unplug()
    assert ended.code == OK, ended.out
    assert thing.power_cycle(board) == NEW


def test_a_board_that_is_replugged_is_found_again(bus: MockedBus, run: Run, thing: Product) -> None:
    for _ in range(3):
        with bus.with_board(thing.board()):
            assert "Found DFU" in run("-l").out
        assert "Found DFU" not in run("-l").out


@pytest.mark.parametrize("transfer", [1, 9, 10, 14, 20, 33, 50])
def test_unplugged_anywhere_it_ends_and_the_old_application_runs(
    bus: MockedBus, run: Run, thing: Product, transfer: int
) -> None:
    board = thing.board()
    assert board.rom
    board.rom.unplug_at = board.rom.transfers + transfer
    with bus.with_board(board):
        ended = run(*raw(thing))
    assert ended.code == IO_ERROR, ended.out
    assert ended.virtual_seconds < 10
    assert thing.power_cycle(board) == OLD


@pytest.mark.parametrize("transfer", [1, 3, 5, 6, 7, 8, 9, 11, 13, 20, 50])
def test_when_the_device_stops_answering_it_ends(
    bus: MockedBus, run: Run, thing: Product, transfer: int
) -> None:
    board = thing.board()
    stop_answering(board, transfer)
    with bus.with_board(board):
        ended = run(*raw(thing))
    assert ended.code, ended.out
    assert not ended.cable_pulled
    assert ended.virtual_seconds < 60
    assert thing.power_cycle(board) == OLD


def test_a_drop_that_lost_power_is_finished_by_dropping_again(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    board = thing.board()
    board.boot(boot0=True, cut=MIDDLE)
    with bus.with_board(board):
        assert run(*raw(thing)).code == IO_ERROR
    board.boot(boot0=True)
    with bus.with_board(board):
        assert run(*raw(thing)).code == OK
    assert thing.power_cycle(board) == NEW


def test_a_protected_board_is_not_touched(bus: MockedBus, run: Run, thing: Product) -> None:
    """All that a person sees is that an erase failed: dfu-util does not name the status."""
    board = thing.board(protected=True)
    before = board.snapshot()
    with bus.with_board(board) as recorder:
        ended = run(*raw(thing))
    assert ended.code == IO_ERROR
    assert "ERASE_PAGE not correctly executed" in ended.out
    assert board.snapshot() == before
    sent = [t.data for t in recorder.transfers if t and t.request == Request.DNLOAD]
    assert all(data[:1] != b"\x92" for data in sent)
    assert thing.power_cycle(board) == OLD


def test_a_protected_board_that_failed_once_is_cleared_by_the_next_run(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    board = thing.board(protected=True)
    with bus.with_board(board):
        first, second = run(*raw(thing)), run(*raw(thing))
    assert "dfuERROR, status(11)" in second.out
    assert first.code == second.code == IO_ERROR


def test_outside_flash_nothing_is_sent_that_changes_anything(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    board = thing.board()
    with bus.with_board(board) as recorder:
        ended = run("-a", "0", "-s", "0x30000000", "-D", "update.bin")
    assert ended.code == 64, ended.out
    assert not [t for t in recorder.transfers if t and t.request == Request.DNLOAD]


def test_with_two_boards_it_wants_to_know_which(bus: MockedBus, run: Run, thing: Product) -> None:
    first, second = thing.board(), thing.board()
    with bus.with_board(first), bus.with_board(second, port=2):
        assert run(*raw(thing)).code == IO_ERROR
        ended = run("-p", "1-2", *raw(thing))
    assert ended.code == OK, ended.out
    assert (thing.power_cycle(first), thing.power_cycle(second)) == (OLD, NEW)


@pytest.mark.parametrize("sleep", [1, 2, 9])
def test_after_ctrl_c_the_old_application_runs_and_the_next_drop_works(
    bus: MockedBus, run: Run, thing: Product, sleep: int
) -> None:
    board = thing.board()
    with bus.with_board(board):
        ended = run(*raw(thing), extra={"INTERRUPT_AT_SLEEP": str(sleep)})
    assert ended.code == -signal.SIGINT
    kept = board.snapshot()
    assert thing.power_cycle(board) == OLD
    board.restore(kept)
    board.boot(boot0=True)
    with bus.with_board(board):
        assert run(*raw(thing)).code == OK
    assert thing.power_cycle(board) == NEW


def test_after_ctrl_c_it_takes_up_a_device_that_was_left_busy(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    board = thing.board()
    with bus.with_board(board):
        assert run(*raw(thing), extra={"INTERRUPT_AT_SLEEP": "3"}).code == -signal.SIGINT
        assert run(*raw(thing)).code == OK
    assert thing.power_cycle(board) == NEW
