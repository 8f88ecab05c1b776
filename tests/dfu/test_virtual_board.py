from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from dfu import products
from dfu.products import BANK2_STAGING, STAGING

from packager.chip import CHIPS, SECTOR_SIZE, Span
from packager.dfu.protocol import DfuSe
from packager.dfu.staging import prepare_drop, run_plan
from packager.dfu.status import StagingState, read_status
from packager.dfu.usb import open_device
from packager.errors import (
    DeviceError,
    NoDeviceError,
    ProtectedError,
    SeveralDevicesError,
    VerifyMismatchError,
)
from packager.sim.board import Board
from packager.sim.cells import Word
from packager.sim.operations import OpKind

SMALL = products.update(3000)
ROMS = [0xD2, 0xD3, 0x90, 0x91, 0x92]


def board_with(
    rom_id: int = 0x92, staging: Span = STAGING, old: bytes = b"old" * 200, serial: int = 0
) -> Board:
    board = Board.new(CHIPS["stm32h743xi"], rom_id=rom_id, seed=serial)
    board.program(
        {
            products.INFO_ADDRESS: products.info_bytes(staging),
            products.MARKS.start: products.record(),
            staging.start: old,
            staging.start + SECTOR_SIZE: old,
        }
    )
    return board


@contextmanager
def opened(board: Board, **boot: object) -> Iterator[DfuSe]:
    board.boot(boot0=True, **boot)  # type: ignore[arg-type]
    with open_device(backend=board.usb_backend(), clock=board.clock) as client:
        yield client


def drop(board: Board, update: bytes, **boot: object) -> None:
    with opened(board, **boot) as client:
        run_plan(prepare_drop(update, client), client)


@pytest.mark.parametrize("by_length_sent", [True, False])
@pytest.mark.parametrize("staging", [STAGING, BANK2_STAGING], ids=["bank1", "bank2"])
@pytest.mark.parametrize("rom_id", ROMS, ids=hex)
def test_every_rom_takes_a_drop_in_either_bank(
    rom_id: int, staging: Span, by_length_sent: bool
) -> None:
    board = board_with(rom_id, staging)
    update = products.update(SECTOR_SIZE, staging)
    board.boot(boot0=True)
    assert board.rom
    board.rom.address_by_length_sent = by_length_sent
    with open_device(backend=board.usb_backend(), clock=board.clock) as client:
        run_plan(prepare_drop(update, client), client)
    assert board.read(staging.start, len(update)) == update
    assert all(op.virgin for op in board.flash.operations if op.kind is OpKind.PROGRAM)


def test_a_wedge_that_erases_nothing_is_an_error_and_no_write() -> None:
    board = board_with(0x90, BANK2_STAGING)
    board.boot(boot0=True)
    assert board.rom
    board.rom.wedge_leaves_dirty = True
    with (
        open_device(backend=board.usb_backend(), clock=board.clock) as client,
        pytest.raises(DeviceError, match="sector is not blank"),
    ):
        run_plan(prepare_drop(products.update(staging=BANK2_STAGING), client), client)
    assert not [op for op in board.flash.operations if op.kind is OpKind.PROGRAM]


def test_silent_write_protection_is_caught() -> None:
    board = board_with()
    board.flash.options = board.flash.options.with_write_protection(1, {2})
    with pytest.raises(VerifyMismatchError):
        drop(board, products.update(SECTOR_SIZE))
    assert board.read(STAGING.start, 8) == b"\xff" * 8


def test_a_protected_board_is_explained_and_not_erased() -> None:
    board = board_with()
    board.flash.options = board.flash.options.with_rdp(0x55)
    with opened(board) as client:
        assert read_status(client).protected
        with pytest.raises(ProtectedError):
            prepare_drop(SMALL, client)
    assert board.flash.operations == []


def test_a_planning_run_changes_nothing() -> None:
    board = board_with()
    with opened(board) as client:
        assert prepare_drop(SMALL, client).steps
    assert board.flash.operations == []


def test_two_boards_with_the_same_serial_are_told_apart_by_port() -> None:
    first, second = board_with(), board_with(serial=1)
    first.boot(boot0=True)
    second.boot(boot0=True)
    bus = first.usb_backend(second)
    with pytest.raises(SeveralDevicesError, match="usb:1-1, usb:1-2"):
        open_device(backend=bus)
    with open_device("usb:1-2", backend=bus, clock=second.clock) as client:
        run_plan(prepare_drop(SMALL, client), client)
    assert second.read(STAGING.start, len(SMALL)) == SMALL
    assert first.flash.operations == []


def test_a_board_that_runs_its_app_is_no_device() -> None:
    board = board_with()
    with pytest.raises(NoDeviceError):
        open_device(backend=board.usb_backend())


@pytest.mark.parametrize("early", [False, True])
def test_a_board_that_drops_off_while_leaving_has_left(early: bool) -> None:
    board = board_with()
    with opened(board) as client:
        run_plan(prepare_drop(SMALL, client), client)
        rom = board.rom
        assert rom
        rom.leave_drops_early = early
        client.leave(0x08000000)
    assert rom.left_to == 0x08000000
    assert board.rom is None


def test_poisoned_words_in_staging_are_seen_and_erased() -> None:
    board = board_with()
    board.flash.plant(STAGING.start, Word.POISONED)
    with opened(board) as client:
        assert read_status(client).staging is StagingState.UNREADABLE
        run_plan(prepare_drop(SMALL, client), client)
    assert board.read(STAGING.start, len(SMALL)) == SMALL


@pytest.mark.parametrize("flavour", ["before", "torn", "after"])
@pytest.mark.parametrize("staging", [STAGING, BANK2_STAGING], ids=["bank1", "bank2"])
def test_a_power_cut_at_any_flash_operation_is_repaired_by_the_next_drop(
    staging: Span, flavour: str
) -> None:
    board = board_with(0x90, staging)
    start = board.snapshot()
    update = products.update(3000, staging)
    drop(board, update)
    for index in range(1, len(board.flash.operations) + 1, 3):
        board.restore(start)
        with pytest.raises(DeviceError):
            drop(board, update, cut=f"{index}-{flavour}")
        drop(board, update)
        assert board.read(staging.start, len(update)) == update, f"{index}-{flavour}"


def test_a_word_that_was_cut_while_it_was_programmed_is_never_built_upon() -> None:
    kept = 0
    for seed in range(40):
        board = board_with(serial=seed, old=b"")
        update = products.update(6000, seed=seed)
        with pytest.raises(DeviceError):
            drop(board, update, cut=f"{40 + seed}-torn")
        drop(board, update)
        kept += not [op for op in board.flash.operations if op.kind is OpKind.ERASE]
        words = range(STAGING.start, STAGING.start + len(update), 32)
        assert {board.flash.word_state(word) for word in words} <= {Word.PROGRAMMED, Word.CORRECTED}
        assert all(op.virgin for op in board.flash.operations if op.kind is OpKind.PROGRAM)
    assert kept


@pytest.mark.parametrize("sectors", [1, 2])
def test_a_doubtful_word_at_the_very_end_of_a_sector_is_not_built_upon(sectors: int) -> None:
    """The cut came with the last word of a sector; nothing of the next one was written yet."""
    update = products.update(2 * SECTOR_SIZE - len(products.update(0)))
    board = board_with(old=b"")
    board.program({STAGING.start + 1024: update[1024 : sectors * SECTOR_SIZE]})
    last = STAGING.start + sectors * SECTOR_SIZE - 32
    board.flash.plant(last, Word.WEAK, reads=3)
    drop(board, update)
    assert board.flash.word_state(last) is Word.PROGRAMMED
    assert board.read(STAGING.start, len(update)) == update


@pytest.mark.parametrize("reads", [1, 3, 6])
def test_a_doubtful_word_behind_a_header_of_another_tool_is_not_built_upon(reads: int) -> None:
    """Other tools write the header first: it is there although the second sector was cut."""
    update = products.update(2 * SECTOR_SIZE - len(products.update(0)))
    written = SECTOR_SIZE + 5 * 1024 + 64
    board = board_with(old=b"")
    board.program({STAGING.start: update[:written]})
    last = STAGING.start + written - 32
    board.flash.plant(last, Word.WEAK, reads=reads)
    drop(board, update)
    assert board.flash.word_state(last) is Word.PROGRAMMED
    assert board.read(STAGING.start, len(update)) == update


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (0, SECTOR_SIZE + 5 * 1024),
        (1024, SECTOR_SIZE + 5 * 1024),
        (0, SECTOR_SIZE),
        (1024, SECTOR_SIZE),
        (1024, 2 * SECTOR_SIZE),
    ],
)
def test_a_word_that_was_begun_and_still_reads_blank_is_not_programmed(
    begin: int, end: int
) -> None:
    update = products.update(2 * SECTOR_SIZE - len(products.update(0)))
    board = board_with(old=b"")
    board.program({STAGING.start + begin: update[begin:end]})
    begun = STAGING.start + (0 if end == 2 * SECTOR_SIZE else end)
    board.flash.plant(begun, Word.WEAK_BLANK, reads=4)
    drop(board, update)
    assert board.flash.word_state(begun) is Word.PROGRAMMED
    assert board.read(STAGING.start, len(update)) == update


@pytest.mark.parametrize("end", [1024, 2 * SECTOR_SIZE], ids=["of the header", "of the update"])
def test_an_update_that_is_whole_but_ends_in_a_doubtful_word_is_staged_anew(end: int) -> None:
    """The cut came with the very last word of a drop: of ours the header's, of others the end."""
    update = products.update(2 * SECTOR_SIZE - len(products.update(0)))
    board = board_with(old=b"")
    board.program({STAGING.start: update})
    board.flash.plant(STAGING.start + end - 32, Word.WEAK, reads=3)
    drop(board, update)
    assert board.flash.word_state(STAGING.start + end - 32) is Word.PROGRAMMED
    assert board.read(STAGING.start, len(update)) == update


def test_what_another_tool_was_cut_at_is_kept_where_it_reads_steadily() -> None:
    update = products.update(2 * SECTOR_SIZE - len(products.update(0)))
    board = board_with(old=b"")
    board.program({STAGING.start: update[: SECTOR_SIZE + 5 * 1024]})
    drop(board, update)
    erased = [op.address for op in board.flash.operations if op.kind is OpKind.ERASE]
    assert erased == [STAGING.start]
    assert board.read(STAGING.start, len(update)) == update


def test_a_whole_update_dropped_again_changes_nothing() -> None:
    board = board_with()
    drop(board, SMALL)
    drop(board, SMALL)  # operations are those since it was plugged in
    assert board.flash.operations == []


@pytest.mark.parametrize("index", [1, 2, 3, 40])
def test_a_torn_erase_of_several_sectors_is_repaired_by_the_next_drop(index: int) -> None:
    for seed in range(3):
        board = board_with(serial=seed)
        update = products.update(SECTOR_SIZE + 600 * seed, seed=seed)
        with pytest.raises(DeviceError):
            drop(board, update, cut=f"{index}-torn")
        drop(board, update)
        assert board.read(STAGING.start, len(update)) == update
        assert all(op.virgin for op in board.flash.operations if op.kind is OpKind.PROGRAM)


def test_an_unplug_at_any_transfer_is_repaired_by_the_next_drop() -> None:
    board = board_with()
    start = board.snapshot()
    with opened(board) as client:
        run_plan(prepare_drop(SMALL, client), client)
        assert board.rom
        transfers = board.rom.transfers
    for at in range(1, transfers, 7):
        board.restore(start)
        board.boot(boot0=True)
        assert board.rom
        board.rom.unplug_at = at
        with (
            pytest.raises(DeviceError),
            open_device(backend=board.usb_backend(), clock=board.clock) as client,
        ):
            run_plan(prepare_drop(SMALL, client), client)
        drop(board, SMALL)
        assert board.read(STAGING.start, len(SMALL)) == SMALL, at


def test_a_failing_program_or_erase_is_named() -> None:
    for plant in ("program_errors", "erase_errors"):
        board = board_with()
        getattr(board.flash.faults, plant)[STAGING.start] = 1
        with pytest.raises(DeviceError, match=r"0x08020000: refused with status err(PROG|ERASE)"):
            drop(board, SMALL)
        drop(board, SMALL)
