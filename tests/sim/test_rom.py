"""The virtual ROM: protocol, timing and the quirks of its versions."""

from __future__ import annotations

import pytest
from sim.firmware import APP, build

from packager.chip import CHIPS
from packager.dfu.constants import State, Status
from packager.sim.board import Board, Outcome
from packager.sim.cells import Word
from packager.sim.operations import Cut
from packager.sim.rom import Gone, Hung, RomDfu, Stall

BANK1, BANK2 = 0x0802_0000, 0x0810_0000
DATA = bytes(range(256)) * 4


def rom_of(rom_id: int = 0x92, chip: str = "stm32h743xi") -> RomDfu:
    board = Board.new(CHIPS[chip], rom_id=rom_id)
    assert board.boot(boot0=True).outcome is Outcome.STAYS_IN_ROM
    assert board.rom is not None
    return board.rom


def status(rom: RomDfu) -> tuple[Status, int, State]:
    raw = rom.control(0xA1, 3, 0, 0, 6)
    return Status(raw[0]), int.from_bytes(raw[1:4], "little"), State(raw[4])


def download(rom: RomDfu, block: int, data: bytes) -> tuple[Status, State]:
    """Send, let it execute, and return how it went."""
    rom.control(0x21, 1, block, 0, data)
    assert status(rom)[2] is State.DFU_DNBUSY
    result = status(rom)
    return result[0], result[2]


def command(rom: RomDfu, code: int, address: int) -> tuple[Status, State]:
    return download(rom, 0, bytes((code,)) + address.to_bytes(4, "little"))


def abort(rom: RomDfu) -> None:
    rom.control(0x21, 6, 0, 0, b"")


def upload(rom: RomDfu, address: int, length: int) -> bytes:
    command(rom, 0x21, address)
    abort(rom)
    data = rom.control(0xA1, 2, 2, 0, length)
    abort(rom)
    return data


GOOD = (Status.OK, State.DFU_DNLOAD_IDLE)


def test_erase_write_and_read_back() -> None:
    rom = rom_of()
    assert command(rom, 0x41, BANK1) == GOOD
    assert command(rom, 0x21, BANK1) == GOOD
    assert download(rom, 2, DATA) == GOOD
    assert download(rom, 3, DATA[::-1]) == GOOD
    assert upload(rom, BANK1, 1024) == DATA
    assert upload(rom, BANK1 + 1024, 1024) == DATA[::-1]


def test_a_command_takes_effect_inside_the_next_getstatus_only() -> None:
    rom = rom_of()
    rom.control(0x21, 1, 0, 0, b"\x41" + BANK1.to_bytes(4, "little"))
    before = rom.clock.now
    assert rom.flash.operations == []
    assert status(rom) == (Status.OK, 1000, State.DFU_DNBUSY)
    assert 0.85 < rom.clock.now - before < 0.95
    assert len(rom.flash.operations) == 1


def test_an_erase_address_is_rounded_down_to_its_sector() -> None:
    rom = rom_of()
    command(rom, 0x41, BANK1 + 0x1234)
    assert rom.flash.operations[0].address == BANK1


@pytest.mark.parametrize("address", [0x0820_0000, 0x2000_0000])
def test_a_bad_address_is_a_target_error(address: int) -> None:
    rom = rom_of()
    assert command(rom, 0x21, address) == (Status.ERR_TARGET, State.DFU_ERROR)
    rom.control(0x21, 4, 0, 0, b"")
    assert status(rom) == (Status.OK, 0, State.DFU_IDLE)


def test_a_1_mb_part_claims_16_sectors_and_refuses_the_missing_ones() -> None:
    rom = rom_of(chip="stm32h743xg")
    assert "16*128Kg" in rom.control(0x80, 6, 0x0304, 0x409, 255)[2:].decode("utf-16-le")
    assert command(rom, 0x41, 0x0808_0000)[0] is Status.ERR_TARGET


def test_get_lists_the_commands() -> None:
    assert rom_of().control(0xA1, 2, 0, 0, 64) == bytes((0x00, 0x21, 0x41, 0x92))


def test_the_rom_id_can_be_read() -> None:
    assert upload(rom_of(0x91), 0x1FF1_E7FE, 2)[0] == 0x91


@pytest.mark.parametrize(("rom_id", "serial"), [(0x90, "200364500000"), (0xD2, "100364500000")])
def test_the_serial_is_that_of_the_silicon_revision(rom_id: int, serial: str) -> None:
    text = rom_of(rom_id).control(0x80, 6, 0x0303, 0x409, 255)
    assert text[2:].decode("utf-16-le") == serial


def test_a_download_needs_an_idle_state() -> None:
    rom = rom_of()
    rom.control(0xA1, 2, 0, 0, 4)
    with pytest.raises(Stall):
        rom.control(0x21, 1, 2, 0, DATA)
    assert status(rom)[2] is State.DFU_ERROR


def test_block_1_is_refused() -> None:
    with pytest.raises(Stall):
        rom_of().control(0x21, 1, 1, 0, DATA)


def test_a_short_last_block_lands_by_its_own_length() -> None:
    rom = rom_of()
    command(rom, 0x21, BANK1)
    download(rom, 2, DATA)
    download(rom, 3, DATA[:32])
    assert rom.flash.word_state(BANK1 + 32) is Word.POISONED
    assert rom.flash.word_state(BANK1 + 1024) is Word.BLANK


def test_a_write_over_a_written_word_poisons_it_and_says_ok() -> None:
    rom = rom_of()
    command(rom, 0x21, BANK1)
    assert download(rom, 2, DATA) == GOOD
    assert download(rom, 2, DATA) == GOOD
    assert rom.flash.word_state(BANK1) is Word.POISONED


def test_reading_a_poisoned_word_stalls() -> None:
    rom = rom_of()
    rom.flash.plant(BANK1 + 512, Word.POISONED)
    with pytest.raises(Stall):
        upload(rom, BANK1, 1024)
    assert status(rom)[2] is State.DFU_ERROR


def test_a_write_protected_sector_keeps_its_content_without_any_error() -> None:
    rom = rom_of()
    command(rom, 0x21, BANK1)
    download(rom, 2, DATA)
    rom.flash.options = rom.flash.options.with_write_protection(1, {1})
    assert command(rom, 0x41, BANK1) == GOOD
    command(rom, 0x21, BANK1 + 1024)
    assert download(rom, 2, DATA) == GOOD
    assert rom.flash.peek(BANK1, 1024) == DATA
    assert rom.flash.peek(BANK1 + 1024, 1024) == b"\xff" * 1024


def test_rom_90_stays_busy_for_ever_after_an_erase_in_bank_2() -> None:
    rom = rom_of(0x90)
    rom.control(0x21, 1, 0, 0, b"\x41" + BANK2.to_bytes(4, "little"))
    for _ in range(20):
        assert status(rom) == (Status.OK, 1000, State.DFU_DNBUSY)
        rom.clock.sleep(1.0)


def test_rom_90_is_freed_by_two_clrstatus_once_its_time_is_over() -> None:
    rom = rom_of(0x90)
    rom.control(0x21, 1, 0, 0, b"\x41" + BANK2.to_bytes(4, "little"))
    status(rom)
    rom.control(0x21, 4, 0, 0, b"")
    assert status(rom)[2] is State.DFU_DNBUSY, "too early"
    rom.clock.sleep(2.0)
    rom.control(0x21, 4, 0, 0, b"")
    assert status(rom) == (Status.ERR_UNKNOWN, 0, State.DFU_ERROR)
    rom.control(0x21, 4, 0, 0, b"")
    assert status(rom) == (Status.OK, 0, State.DFU_IDLE)


@pytest.mark.parametrize("dirty", [False, True])
def test_a_wedged_erase_may_have_erased_nothing(dirty: bool) -> None:
    rom = rom_of(0x90)
    rom.flash.program(BANK2, DATA[:32])
    rom.wedge_leaves_dirty = dirty
    rom.control(0x21, 1, 0, 0, b"\x41" + BANK2.to_bytes(4, "little"))
    status(rom)
    assert (rom.flash.peek(BANK2, 32) == DATA[:32]) == dirty


def test_rom_90_erases_bank_1_without_trouble() -> None:
    assert command(rom_of(0x90), 0x41, BANK1) == GOOD


def test_rom_91_answers_during_an_erase_in_bank_2_and_hangs_on_the_next_command() -> None:
    rom = rom_of(0x91)
    assert command(rom, 0x41, BANK2) == GOOD
    rom.control(0x21, 1, 0, 0, b"\x41" + (BANK2 + 0x2_0000).to_bytes(4, "little"))
    with pytest.raises(Hung):
        status(rom)
    with pytest.raises(Hung):
        status(rom)


def test_rom_91_is_fine_when_the_erase_is_waited_for() -> None:
    rom = rom_of(0x91)
    command(rom, 0x41, BANK2)
    rom.clock.sleep(4.0)
    assert command(rom, 0x41, BANK2 + 0x2_0000) == GOOD


def test_rom_92_erases_bank_2() -> None:
    assert command(rom_of(0x92), 0x41, BANK2) == GOOD


def test_the_mass_erase_of_rom_d3_does_not_work() -> None:
    assert download(rom_of(0xD3), 0, b"\x41")[0] is Status.ERR_ERASE


def test_mass_erase_takes_the_loader_with_it() -> None:
    rom = rom_of()
    rom.flash.program(0x0800_0000, DATA[:32])
    assert download(rom, 0, b"\x41") == GOOD
    assert rom.flash.peek(0x0800_0000, 32) == b"\xff" * 32


def protected() -> RomDfu:
    board = Board.new(CHIPS["stm32h743xi"])
    board.flash.options = board.flash.options.with_rdp(0x55)
    board.boot(boot0=True)
    assert board.rom is not None
    return board.rom


def test_a_protected_chip_answers_errvendor_to_reads() -> None:
    rom = protected()
    with pytest.raises(Stall):
        upload(rom, BANK1, 1024)
    assert status(rom)[:3:2] == (Status.ERR_VENDOR, State.DFU_ERROR)


def test_a_protected_chip_answers_errvendor_to_erases_and_writes() -> None:
    assert command(protected(), 0x41, BANK1) == (Status.ERR_VENDOR, State.DFU_ERROR)
    rom = protected()
    assert command(rom, 0x21, BANK1) == GOOD
    assert download(rom, 2, DATA) == (Status.ERR_VENDOR, State.DFU_ERROR)
    assert rom.flash.operations == []


def test_read_unprotect_erases_everything_and_drops_off() -> None:
    rom = protected()
    rom.flash.banks[0].program(0, DATA[:32])
    rom.control(0x21, 1, 0, 0, b"\x92")
    with pytest.raises(Gone):
        status(rom)
    assert rom.flash.options.rdp_level == 0
    assert rom.flash.peek(0x0800_0000, 32) == b"\xff" * 32


def test_at_level_2_the_boot_pin_does_not_reach_the_rom() -> None:
    board = Board.new(CHIPS["stm32h743xi"])
    board.flash.options = board.flash.options.with_rdp(0xCC)
    assert board.boot(boot0=True).outcome is Outcome.LOCKED_UP


def leave(rom: RomDfu, address: int = 0x0800_0000) -> None:
    command(rom, 0x21, address)
    rom.control(0x21, 1, 0, 0, b"")
    assert status(rom)[2] is State.DFU_MANIFEST


def left_board(rom_id: int, stack: int = 0x2001_FF00, body: str = APP) -> Board:
    board = Board.new(CHIPS["stm32h743xi"], rom_id=rom_id)
    board.program(build(body, stack=stack))
    board.boot(boot0=True)
    assert board.rom is not None
    leave(board.rom)
    return board


def test_after_a_leave_the_device_is_gone() -> None:
    board = left_board(0x92)
    assert board.rom is None


def test_a_leave_may_look_failed_to_the_host() -> None:
    rom = rom_of()
    rom.leave_drops_early = True
    with pytest.raises(Gone):
        leave(rom)
    assert rom.left_to == 0x0800_0000


def test_a_leave_jumps_without_a_reset_and_leaves_usb_on() -> None:
    body = """
    void main(void) {
        print_hex(REG(0x580244D8u)); print_hex(REG(0x58024400u) & 0x3000u); print_hex(SCB_VTOR);
        for (;;) {}
    }
    """
    report = left_board(0x92, body=body).boot_after_leave()
    assert report.uart == "08000000\n00003000\n00000000\n"
    assert report.resets == []


@pytest.mark.parametrize(("rom_id", "reads"), [(0x90, "01000006\n"), (0x92, "00000006\n")])
def test_rom_90_leaves_the_supply_register_locked(rom_id: int, reads: str) -> None:
    body = """
    void main(void) {
        REG(0x5802480Cu) = 6u;
        print_hex(REG(0x5802480Cu) & ~(1u << 26));
    }
    """
    assert left_board(rom_id, body=body).boot_after_leave().uart == reads


def test_a_leave_to_a_stack_at_the_end_of_ram_resets_instead() -> None:
    report = left_board(0x92, stack=0x2002_0000).boot_after_leave()
    assert report.resets == ["reset"]
    assert report.uart == "app\n"


def test_after_a_leave_the_watchdog_update_flag_is_stuck() -> None:
    body = "void main(void) { print_hex(REG(0x5800480Cu)); for (;;) {} }"
    assert left_board(0x92, body=body).boot_after_leave().uart == "00000001\n"


def test_the_cable_pulled_at_a_transfer_is_gone_from_then_on() -> None:
    rom = rom_of()
    rom.unplug_at = 3
    status(rom)
    status(rom)
    with pytest.raises(Gone):
        status(rom)
    assert not rom.is_on_bus


def test_a_power_cut_counts_the_operations_of_the_rom_too() -> None:
    board = Board.new(CHIPS["stm32h743xi"], rom_id=0x92)
    board.boot(boot0=True, cut=Cut(2, "torn"))
    rom = board.rom
    assert rom is not None
    command(rom, 0x41, BANK1)
    command(rom, 0x21, BANK1)
    rom.control(0x21, 1, 2, 0, DATA)
    with pytest.raises(Gone):
        status(rom)
    assert rom.power_cut == Cut(2, "torn")
    assert board.rom is None


def test_a_kibibyte_is_read_in_four_to_five_milliseconds() -> None:
    rom = rom_of()
    rom.control(0xA1, 2, 0, 0, 4)
    before = rom.clock.now
    rom.control(0xA1, 2, 2, 0, 1024)
    assert 0.004 < rom.clock.now - before < 0.005


def test_the_option_bytes_can_be_read() -> None:
    rom = rom_of()
    options = upload(rom, 0x5200_201C, 0x134)
    assert len(options) == 0x134
    assert int.from_bytes(options[:4], "little") == rom.flash.options.optsr
