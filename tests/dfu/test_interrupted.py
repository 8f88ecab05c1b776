"""Ctrl-C at any control transfer: the device is left idle, and the next drop succeeds."""

from __future__ import annotations

import pytest
from dfu import products
from dfu.products import BANK2_STAGING, STAGING
from dfu.test_virtual_board import board_with

from packager.chip import SECTOR_SIZE, Span
from packager.dfu.constants import State
from packager.dfu.staging import prepare_drop, run_plan
from packager.dfu.usb import open_device
from packager.errors import PackagerError
from packager.sim.board import Board
from packager.sim.operations import OpKind
from packager.sim.rom import RomDfu

SMALL = 3000
LARGE = SECTOR_SIZE + 5000


def attempt(board: Board, update: bytes, *, at: int | None = None, after: bool = False) -> RomDfu:
    """Drop, interrupted before or after the device took transfer ``at``."""
    board.boot(boot0=True)
    rom = board.rom
    assert rom
    control = rom.control

    def tripped(kind: int, request: int, value: int, index: int, data: bytes | int) -> bytes:
        due = at is not None and rom.transfers + 1 == at
        if due and not after:
            rom.control = control  # type: ignore[method-assign]
            raise KeyboardInterrupt
        answer = control(kind, request, value, index, data)
        if due:
            rom.control = control  # type: ignore[method-assign]
            raise KeyboardInterrupt
        return answer

    rom.control = tripped  # type: ignore[assignment, method-assign]
    with open_device(backend=board.usb_backend(), clock=board.clock) as client:
        run_plan(prepare_drop(update, client), client)
    return rom


def transfers_of(board: Board, update: bytes) -> int:
    start = board.snapshot()
    count = attempt(board, update).transfers
    board.restore(start)
    return count


def holds_header_without_payload(board: Board, update: bytes, staging: Span) -> bool:
    header = board.read(staging.start, 8) == update[:8]
    return header and board.read(staging.start, len(update)) != update


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("rom_id", "staging", "size", "stride"),
    [
        (0x92, STAGING, SMALL, 1),
        (0x90, STAGING, LARGE, 53),
        (0x90, BANK2_STAGING, SMALL, 17),
        (0x91, BANK2_STAGING, SMALL, 17),
    ],
    ids=["bank1-every", "bank1-two-sectors", "0x90-bank2", "0x91-bank2"],
)
def test_ctrl_c_at_any_transfer_leaves_a_device_for_the_next_drop(
    rom_id: int, staging: Span, size: int, stride: int, after: bool
) -> None:
    board = board_with(rom_id, staging)
    update = products.update(size, staging)
    start = board.snapshot()
    for at in range(1, transfers_of(board, update) - 1, stride):
        board.restore(start)
        with pytest.raises(KeyboardInterrupt):
            attempt(board, update, at=at, after=after)
        rom = board.rom
        assert rom
        assert not holds_header_without_payload(board, update, staging), at
        assert rom._state is State.DFU_IDLE or at < 8, at
        attempt_without_power_cycle(board, update)
        assert board.read(staging.start, len(update)) == update, at
        programs = [op for op in board.flash.operations if op.kind is OpKind.PROGRAM]
        assert all(op.virgin for op in programs), at


def attempt_without_power_cycle(board: Board, update: bytes) -> None:
    with open_device(backend=board.usb_backend(), clock=board.clock) as client:
        run_plan(prepare_drop(update, client), client)


def test_a_drop_over_an_old_update_never_leaves_the_old_header_over_new_payload() -> None:
    old, new = products.update(SMALL, seed=8), products.update(SMALL, seed=9)
    board = board_with()
    attempt(board, old)
    start = board.snapshot()
    for at in range(1, transfers_of(board, new) - 1, 3):
        board.restore(start)
        with pytest.raises(KeyboardInterrupt):
            attempt(board, new, at=at)
        held = board.read(STAGING.start, len(new))
        assert held[:8] != b"SPLTFLSH" or held in (old, new), at


def test_an_error_leaves_the_device_idle_too() -> None:
    board = board_with()
    board.flash.faults.erase_errors[STAGING.start] = 1
    with pytest.raises(PackagerError):
        attempt(board, products.update(SMALL))
    assert board.rom
    assert board.rom._state is State.DFU_IDLE
