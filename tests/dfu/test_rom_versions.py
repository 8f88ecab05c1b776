"""Every ROM of the H743, with its faults: how the client gets through, and that it never hangs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from dfu import products
from dfu.products import BANK2_STAGING, STAGING
from dfu.scripted import Rom
from dfu.test_virtual_board import board_with

from packager.chip import SECTOR_SIZE, Span
from packager.dfu.constants import Request, State
from packager.dfu.protocol import DfuSe
from packager.dfu.rom import WORST_ERASE_SECONDS
from packager.dfu.staging import prepare_drop, run_plan
from packager.dfu.usb import open_device
from packager.errors import DeviceError, DeviceTimeoutError, VerifyMismatchError
from packager.sim import rom_descriptors as model
from packager.sim.board import Board
from packager.sim.cells import Word
from packager.sim.operations import OpKind, Timing

SIZE = SECTOR_SIZE + 3000
ROMS = [0xD2, 0xD3, 0x90, 0x91, 0x92]
Sent = list[tuple[int, int, float]]
"""Request, value and virtual time of each transfer."""


def drop(board: Board, update: bytes) -> Sent:
    """Drop, and tell what was sent."""
    board.boot(boot0=True)
    rom = board.rom
    assert rom
    sent: Sent = []
    control = rom.control

    def noted(kind: int, request: int, value: int, index: int, data: bytes | int) -> bytes:
        if kind & 0x60:
            sent.append((request, value, board.clock.now))
        return control(kind, request, value, index, data)

    rom.control = noted  # type: ignore[assignment, method-assign]
    with open_device(backend=board.usb_backend(), clock=board.clock) as client:
        run_plan(prepare_drop(update, client), client)
    return sent


def count(sent: Sent, request: Request) -> int:
    return Counter(entry[0] for entry in sent)[request]


# -- the five versions ----------------------------------------------------------------------------


def test_client_and_model_know_the_same_versions_by_the_same_names() -> None:
    from packager.dfu.rom import ROM_VERSIONS

    ours = [(number, rom.name) for number, rom in ROM_VERSIONS.items()]
    assert ours == [(number, rom.name) for number, rom in model.ROM_VERSIONS.items()]


@pytest.mark.parametrize("rom_id", ROMS, ids=hex)
@pytest.mark.parametrize("staging", [STAGING, BANK2_STAGING], ids=["bank1", "bank2"])
@pytest.mark.parametrize("timing", Timing)
def test_every_rom_gets_its_update_in_either_bank_with_quick_and_with_slow_flash(
    rom_id: int, staging: Span, timing: Timing
) -> None:
    board = board_with(rom_id, staging)
    board.flash.timing = timing
    update = products.update(SIZE, staging)
    drop(board, update)
    assert board.read(staging.start, len(update)) == update


@pytest.mark.parametrize(
    "quirk",
    [
        {},
        {"wedges_on_bank2_erase": True},
        {"answers_during_bank2_erase": True},
        {"wedges_on_bank2_erase": True, "answers_during_bank2_erase": True},
    ],
    ids=["good", "wedges", "answers-early", "both"],
)
def test_a_rom_nobody_reported_on_may_have_any_fault(
    quirk: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = replace(model.ROM_VERSIONS[0xD3], **quirk)
    monkeypatch.setitem(model.ROM_VERSIONS, 0xD3, faulty)
    board = board_with(0xD3, BANK2_STAGING)
    update = products.update(SIZE, BANK2_STAGING)
    drop(board, update)
    assert board.read(BANK2_STAGING.start, len(update)) == update


def test_a_wedge_is_cleared_by_two_clrstatus_a_sector_and_not_before_its_time() -> None:
    board = board_with(0x90, BANK2_STAGING)
    sent = drop(board, products.update(SIZE, BANK2_STAGING))
    erases = [op.time for op in board.flash.operations if op.kind is OpKind.ERASE]
    clears = [time for request, _, time in sent if request == Request.CLRSTATUS]
    assert len(erases) == 2
    assert len(clears) == 4
    for erase, first, second in zip(erases, clears[::2], clears[1::2], strict=True):
        assert first - erase >= WORST_ERASE_SECONDS
        assert second > first


def test_a_wedged_sector_is_read_whole_before_anything_is_written_to_it() -> None:
    board = board_with(0x90, BANK2_STAGING)
    sent = drop(board, products.update(SIZE, BANK2_STAGING))
    last_clear = max(at for at, entry in enumerate(sent) if entry[0] == Request.CLRSTATUS)
    kinds = [(request, value >= 2) for request, value, _ in sent[last_clear:]]
    first_write = kinds.index((Request.DNLOAD, True))
    assert kinds[:first_write].count((Request.UPLOAD, True)) == SECTOR_SIZE // 1024


def test_a_longer_time_announced_by_a_wedged_rom_is_waited_for() -> None:
    rom = Rom(rom_id=0x90, stuck_after_erase_of={0x08100000}, announced_poll_ms=9000)
    client = rom.client()
    client.read_rom_id()
    client.erase_sector(0x08100000)
    assert rom.clock.now > 9.0


def test_a_wedge_that_erased_nothing_is_found_and_nothing_is_written() -> None:
    board = board_with(0x90, BANK2_STAGING)
    board.boot(boot0=True)
    assert board.rom
    board.rom.wedge_leaves_dirty = True
    with (
        open_device(backend=board.usb_backend(), clock=board.clock) as client,
        pytest.raises(VerifyMismatchError, match=r"0x08100000: .*sector is not blank"),
    ):
        run_plan(prepare_drop(products.update(SIZE, BANK2_STAGING), client), client)
    assert not [op for op in board.flash.operations if op.kind is OpKind.PROGRAM]


def test_rom_91_gets_the_worst_case_time_before_the_next_flash_command() -> None:
    board = board_with(0x91, BANK2_STAGING)
    sent = drop(board, products.update(SIZE, BANK2_STAGING))
    erases = [op.time for op in board.flash.operations if op.kind is OpKind.ERASE]
    uploads = [time for request, _, time in sent if request == Request.UPLOAD]
    for erase in erases:
        assert min(time for time in uploads if time > erase) - erase >= WORST_ERASE_SECONDS


@pytest.mark.parametrize("rom_id", [0xD2, 0x92, 0x90, 0x91], ids=hex)
def test_good_erases_get_no_wait_and_one_block_of_blank_check(rom_id: int) -> None:
    board = board_with(rom_id, STAGING)
    update = products.update(SIZE)
    sent = drop(board, update)
    waited = board.clock.seconds.get("waiting", 0.0)
    assert waited < 0.05
    assert count(sent, Request.CLRSTATUS) == 0


# -- transfers ------------------------------------------------------------------------------------


def test_a_drop_takes_three_transfers_a_block_to_write_and_one_to_read_back() -> None:
    for blocks in (64, 128):
        board = board_with(0x92, STAGING)
        update = products.update(blocks * 1024 - len(products.update(0)))
        sent = drop(board, update)
        data = [entry for entry in sent if entry[0] == Request.DNLOAD and entry[1] >= 2]
        assert len(data) == blocks
        commands = [entry for entry in sent if entry[0] == Request.DNLOAD and entry[1] == 0]
        assert len(commands) < 30, "one Set Address for each run, not for each block"
        assert count(sent, Request.UPLOAD) < blocks + 30
        assert count(sent, Request.GETSTATUS) < 2 * blocks + 100


def test_blocks_are_numbered_in_a_row_and_the_header_comes_last() -> None:
    board = board_with(0x92, STAGING)
    sent = drop(board, products.update(20 * 1024 - len(products.update(0))))
    numbers = [value for request, value, _ in sent if request == Request.DNLOAD and value >= 2]
    assert numbers == [*range(2, 21), 2]
    programs = [op.address for op in board.flash.operations if op.kind is OpKind.PROGRAM]
    assert programs[-32:] == list(range(STAGING.start, STAGING.start + 1024, 32))


def test_blank_sectors_are_not_erased_and_identical_staging_is_only_read() -> None:
    board = board_with(0x92, STAGING, old=b"")
    update = products.update(SIZE)
    drop(board, update)
    assert not [op for op in board.flash.operations if op.kind is OpKind.ERASE]
    again = drop(board, update)
    assert not board.flash.operations
    assert not [entry for entry in again if entry[0] == Request.DNLOAD and entry[1] >= 2]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_resumed_drop_writes_only_the_blocks_that_are_missing(share: float) -> None:
    board = board_with(0x92, STAGING, old=b"")
    update = products.update(SIZE)
    start = board.snapshot()
    board.boot(boot0=True)
    drop(board, update)
    programs = len(board.flash.operations)
    board.restore(start)
    board.boot(boot0=True, cut=f"{int(share * programs)}-after")
    with (
        pytest.raises(DeviceError),
        open_device(backend=board.usb_backend(), clock=board.clock) as client,
    ):
        run_plan(prepare_drop(update, client), client)
    drop(board, update)
    assert len(board.flash.operations) <= programs - int(share * programs)
    assert not [op for op in board.flash.operations if op.kind is OpKind.ERASE]
    assert board.read(STAGING.start, len(update)) == update


def test_a_device_that_works_in_the_background_is_asked_as_it_announces_and_not_overslept() -> None:
    rom = Rom(erase_seconds=0.0, erase_takes_polls=10, announced_poll_ms=20)
    rom.client().erase_sector(STAGING.start)
    assert 0.2 < rom.clock.now < 0.3
    rom = Rom(erase_seconds=0.0, erase_takes_polls=10, announced_poll_ms=1000)
    rom.client().erase_sector(STAGING.start)
    assert 0.5 < rom.clock.now < 0.7


# -- lying and failing flash ----------------------------------------------------------------------


@pytest.mark.parametrize("rom_id", ROMS, ids=hex)
@pytest.mark.parametrize("dirty", [False, True], ids=["blank", "dirty"])
@pytest.mark.parametrize("sector", [0, 1])
def test_a_write_protected_sector_is_named_and_no_header_is_left(
    rom_id: int, dirty: bool, sector: int
) -> None:
    board = board_with(rom_id, STAGING, old=b"old" * 200 if dirty else b"")
    board.flash.options = board.flash.options.with_write_protection(1, {1 + sector})
    with pytest.raises(VerifyMismatchError, match=r"write-protected \(WRP option bytes\)") as told:
        drop(board, products.update(SIZE))
    place = STAGING.start + sector * SECTOR_SIZE
    found = int(str(told.value).split("0x")[1][:8], 16)
    assert found - found % SECTOR_SIZE == place
    assert board.read(STAGING.start, 8) != products.update(SIZE)[:8]


def test_a_sector_that_never_keeps_what_is_written_is_a_mismatch() -> None:
    board = board_with(0x92, STAGING)
    board.flash.faults.never_verifies.add(STAGING.start + SECTOR_SIZE)
    with pytest.raises(VerifyMismatchError, match="0x08040000: other bytes than were written"):
        drop(board, products.update(SIZE))
    assert board.read(STAGING.start, 8) == b"\xff" * 8


def test_words_of_staging_that_cannot_be_read_cost_one_erase_of_their_sector() -> None:
    board = board_with(0x92, STAGING, old=b"")
    board.flash.plant(STAGING.start + SECTOR_SIZE + 320, Word.POISONED)
    update = products.update(SIZE)
    drop(board, update)
    erased = [op.address for op in board.flash.operations if op.kind is OpKind.ERASE]
    assert erased == [STAGING.start + SECTOR_SIZE]


# -- no hang --------------------------------------------------------------------------------------

SMALL = products.update(2000)


def device(**script: object) -> Rom:
    rom = Rom(**script)  # type: ignore[arg-type]
    rom.put(products.INFO_ADDRESS, products.info_bytes())
    rom.put(STAGING.start, b"old" * 100)
    return rom


def length_of_a_drop() -> int:
    rom = device()
    with rom.client() as client:
        run_plan(prepare_drop(SMALL, client), client)
    return len(rom.log) - 1


def test_a_device_that_falls_silent_at_any_transfer_is_a_timeout_that_names_its_cause() -> None:
    for at in range(1, length_of_a_drop()):
        rom = device(mute_after=at)
        with (
            pytest.raises(DeviceTimeoutError, match=r"usb:1-1: .+: no answer to [A-Z]+ within \d"),
            rom.client() as client,
        ):
            run_plan(prepare_drop(SMALL, client), client)
        assert rom.clock.now < 20, at


@pytest.mark.parametrize("announced", [0, 1, 1000, 0xFF_FFFF])
def test_a_device_that_stays_busy_from_any_transfer_on_is_a_timeout_within_a_minute(
    announced: int,
) -> None:
    """However long it announces to be busy: the longest would be four hours and a half."""
    for at in range(1, length_of_a_drop(), 3):
        rom = device()
        stay_busy(rom, at, announced)
        with pytest.raises(DeviceTimeoutError) as told, rom.client() as client:
            run_plan(prepare_drop(SMALL, client), client)
        assert rom.clock.now < 60, at
        assert "unplug the device" in str(told.value)
        assert str(told.value).startswith("usb:1-1: ")


def stay_busy(rom: Rom, at: int, announced: int) -> None:
    answer = rom._get_status

    def busy() -> bytes:
        if len(rom.log) < at:
            return answer()
        return bytes([0, *announced.to_bytes(3, "little"), State.DFU_DNBUSY, 0])

    rom._get_status = busy  # type: ignore[method-assign]


def test_a_device_that_hangs_in_rom_91_is_a_timeout_and_not_for_ever() -> None:
    board = board_with(0x91, BANK2_STAGING)
    board.boot(boot0=True)
    with open_device(backend=board.usb_backend(), clock=board.clock) as client:
        client.read_rom_id()
        impatient(client)
        client.erase_sector(BANK2_STAGING.start)
        with pytest.raises(DeviceTimeoutError, match="no answer to"):
            client.erase_sector(BANK2_STAGING.start + SECTOR_SIZE)
    assert board.clock.now < 60


def impatient(client: DfuSe) -> None:
    """Take ROM 0x91 for a good one."""
    client.rom = replace(client.rom, answers_before_bank2_erase_ends=False)
    client._check_blank = lambda sector, size: None  # type: ignore[method-assign]
