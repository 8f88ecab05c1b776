"""Every rule of the flash interface, each broken once (RM0433 4.3, 4.5, 4.7)."""

from __future__ import annotations

import pytest

from packager.chip import CHIPS, SECTOR_SIZE
from packager.errors import SimulationFault
from packager.sim.cells import Word
from packager.sim.clock import Clock
from packager.sim.flash import Flash
from packager.sim.flash_registers import (
    CCR,
    CR,
    FW,
    KEYR,
    KEYS,
    LOCK,
    OPTCR,
    OPTION_KEYS,
    OPTKEYR,
    OPTSR_CUR,
    OPTSR_PRG,
    PG,
    SER,
    SR,
    START,
    FlashRegisters,
    Sr,
)
from packager.sim.operations import BusError, OpKind, Timing

X64 = 0x30
BANK1, BANK2 = 0x0800_0000, 0x0810_0000
SECOND = 0x100
"""Offset of the register set of bank 2."""
DATA = bytes(range(32))


class Chip:
    """A driver for the registers, in the words of the manual."""

    def __init__(self, timing: Timing = Timing.TYPICAL) -> None:
        self.clock = Clock()
        self.flash = Flash(CHIPS["stm32h743xi"], self.clock, timing=timing)
        self.regs = FlashRegisters(self.flash)

    def unlock(self, bank: int = SECOND) -> None:
        for key in KEYS:
            self.regs.write(bank + KEYR, 4, key)

    def store(self, address: int, data: bytes, size: int = 4) -> None:
        for at in range(0, len(data), size):
            self.regs.store(address + at, size, int.from_bytes(data[at : at + size], "little"))

    def wait(self, bank: int = SECOND) -> Sr:
        while (status := self.regs.read(bank + SR, 4)) & Sr.QW:
            pass
        return Sr(status)

    def program(self, address: int, data: bytes = DATA, bank: int = SECOND) -> Sr:
        self.regs.write(bank + CR, 4, X64 | PG)
        self.store(address, data)
        return self.wait(bank)

    def erase(self, sector: int, bank: int = SECOND) -> Sr:
        self.regs.write(bank + CR, 4, X64 | SER | START | sector << 8)
        return self.wait(bank)


@pytest.fixture
def chip() -> Chip:
    unlocked = Chip()
    unlocked.unlock()
    return unlocked


def test_a_word_is_programmed_and_reads_back(chip: Chip) -> None:
    assert chip.program(BANK2) == Sr.EOP
    assert chip.flash.peek(BANK2, 32) == DATA


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_the_write_buffer_takes_stores_of_every_size(chip: Chip, size: int) -> None:
    chip.regs.write(SECOND + CR, 4, X64 | PG)
    chip.store(BANK2, DATA, size)
    chip.wait()
    assert chip.flash.peek(BANK2, 32) == DATA


def test_nothing_lands_before_the_buffer_is_full(chip: Chip) -> None:
    chip.regs.write(SECOND + CR, 4, X64 | PG)
    chip.store(BANK2, DATA[:28])
    assert Sr(chip.regs.read(SECOND + SR, 4)) == Sr.WBNE
    assert chip.flash.peek(BANK2, 32) == b"\xff" * 32


def test_force_write_fills_the_word_with_ones(chip: Chip) -> None:
    chip.regs.write(SECOND + CR, 4, X64 | PG)
    chip.store(BANK2, DATA[:4])
    chip.regs.write(SECOND + CR, 4, X64 | PG | FW)
    chip.wait()
    assert chip.flash.peek(BANK2, 32) == DATA[:4] + b"\xff" * 28


def test_force_write_of_an_empty_buffer_does_nothing(chip: Chip) -> None:
    chip.regs.write(SECOND + CR, 4, X64 | PG | FW)
    assert chip.flash.operations == []


@pytest.mark.parametrize(
    "keys", [(0xDEAD,), (KEYS[1],), (KEYS[0], KEYS[0])], ids=["wrong", "second", "first twice"]
)
def test_a_wrong_key_is_a_bus_error_and_locks_until_reset(keys: tuple[int, ...]) -> None:
    chip = Chip()
    for key in keys[:-1]:
        chip.regs.write(SECOND + KEYR, 4, key)
    with pytest.raises(BusError):
        chip.regs.write(SECOND + KEYR, 4, keys[-1])
    with pytest.raises(BusError):
        chip.unlock()
    assert chip.regs.read(SECOND + CR, 4) & LOCK
    chip.regs.reset()
    chip.unlock()
    assert not chip.regs.read(SECOND + CR, 4) & LOCK


def test_a_third_key_locks_until_reset(chip: Chip) -> None:
    with pytest.raises(BusError):
        chip.regs.write(SECOND + KEYR, 4, KEYS[0])
    assert chip.regs.read(SECOND + CR, 4) & LOCK


def test_a_narrow_key_locks_until_reset() -> None:
    with pytest.raises(BusError):
        Chip().regs.write(SECOND + KEYR, 2, 0x0123)


def test_another_register_between_the_keys_locks_until_reset() -> None:
    chip = Chip()
    chip.regs.write(SECOND + KEYR, 4, KEYS[0])
    with pytest.raises(BusError):
        chip.regs.write(SECOND + CCR, 4, 0)


def test_unlocking_one_bank_leaves_the_other_locked(chip: Chip) -> None:
    chip.regs.write(CR, 4, X64 | PG)
    assert chip.regs.read(CR, 4) & (LOCK | PG) == LOCK
    chip.store(BANK1, DATA)
    assert chip.flash.operations == []


def test_a_store_without_pg_sets_pgserr(chip: Chip) -> None:
    chip.store(BANK2, DATA)
    assert chip.wait() == Sr.PGSERR


def test_pgserr_blocks_programs_until_it_is_cleared_through_ccr(chip: Chip) -> None:
    chip.store(BANK2, DATA)
    chip.regs.write(SECOND + SR, 4, Sr.PGSERR)
    assert chip.program(BANK2) == Sr.PGSERR
    chip.regs.write(SECOND + CCR, 4, Sr.PGSERR)
    assert chip.program(BANK2) == Sr.EOP


def test_the_same_byte_twice_sets_strberr_and_the_newer_wins(chip: Chip) -> None:
    chip.regs.write(SECOND + CR, 4, X64 | PG)
    chip.store(BANK2, b"\0\0\0\0")
    chip.store(BANK2, DATA)
    assert chip.wait() == Sr.STRBERR | Sr.EOP
    assert chip.flash.peek(BANK2, 32) == DATA


def test_another_word_before_the_buffer_is_full_sets_incerr(chip: Chip) -> None:
    chip.regs.write(SECOND + CR, 4, X64 | PG)
    chip.store(BANK2, DATA[:16])
    chip.store(BANK2 + 64, DATA[:4])
    assert chip.wait() == Sr.INCERR


def test_a_store_after_incerr_sets_pgserr_too(chip: Chip) -> None:
    chip.regs.write(SECOND + CR, 4, X64 | PG)
    chip.store(BANK2, DATA[:16])
    chip.store(BANK2 + 64, DATA)
    assert chip.wait() == Sr.INCERR | Sr.PGSERR
    assert chip.flash.operations == []


def test_a_second_program_of_a_word_poisons_it_without_any_flag(chip: Chip) -> None:
    chip.program(BANK2)
    chip.regs.write(SECOND + CCR, 4, Sr.EOP)
    assert chip.program(BANK2, bytes(32)) == Sr.EOP
    assert chip.flash.word_state(BANK2) is Word.POISONED
    assert not chip.flash.operations[1].virgin


def test_a_word_programmed_with_ones_is_used_up(chip: Chip) -> None:
    chip.program(BANK2, b"\xff" * 32)
    chip.program(BANK2)
    assert chip.flash.word_state(BANK2) is Word.POISONED


def test_an_erase_makes_the_words_of_its_sector_blank_and_healthy(chip: Chip) -> None:
    chip.program(BANK2 + 3 * SECTOR_SIZE)
    chip.program(BANK2 + 3 * SECTOR_SIZE)
    chip.program(BANK2 + 4 * SECTOR_SIZE)
    chip.erase(3)
    assert chip.flash.word_state(BANK2 + 3 * SECTOR_SIZE) is Word.BLANK
    assert chip.flash.peek(BANK2 + 3 * SECTOR_SIZE, 32) == b"\xff" * 32
    assert chip.flash.peek(BANK2 + 4 * SECTOR_SIZE, 32) == DATA


def test_bank_erase_wins_over_sector_erase(chip: Chip) -> None:
    chip.program(BANK2)
    chip.regs.write(SECOND + CR, 4, X64 | SER | 1 << 3 | START | 5 << 8)
    chip.wait()
    assert chip.flash.operations[-1].kind is OpKind.BANK_ERASE
    assert chip.flash.peek(BANK2, 32) == b"\xff" * 32


def test_a_write_protected_sector_refuses_program_and_erase(chip: Chip) -> None:
    chip.program(BANK2)
    chip.flash.options = chip.flash.options.with_write_protection(2, {0})
    assert chip.program(BANK2 + 32) & Sr.WRPERR
    assert chip.erase(0) & Sr.WRPERR
    assert chip.flash.peek(BANK2, 64) == DATA + b"\xff" * 32


def test_a_write_protected_sector_refuses_the_erase_of_its_bank(chip: Chip) -> None:
    chip.program(BANK2)
    chip.flash.options = chip.flash.options.with_write_protection(2, {6})
    chip.regs.write(SECOND + CR, 4, X64 | 1 << 3 | START)
    assert chip.wait() & Sr.WRPERR
    assert chip.flash.peek(BANK2, 32) == DATA


def test_intrusion_at_level_1_closes_user_flash(chip: Chip) -> None:
    chip.flash.intrusion = True
    assert chip.program(BANK2) == Sr.WRPERR
    with pytest.raises(BusError):
        chip.regs.sense(BANK2)
    assert Sr(chip.regs.read(SECOND + SR, 4)) & Sr.RDPERR


def test_busy_drops_between_the_steps_but_the_queue_flag_holds(chip: Chip) -> None:
    chip.regs.write(SECOND + CR, 4, X64 | SER | START)
    seen = [Sr(chip.regs.read(SECOND + SR, 4)) for _ in range(6)]
    assert all(status & Sr.QW for status in seen)
    assert not all(status & Sr.BSY for status in seen)


def test_one_operation_runs_and_one_waits_a_third_stalls_the_store(chip: Chip) -> None:
    chip.regs.write(SECOND + CR, 4, X64 | PG)
    chip.store(BANK2, DATA)
    chip.store(BANK2 + 32, DATA)
    assert chip.clock.now == 0.0
    chip.store(BANK2 + 64, DATA)
    assert chip.clock.now == pytest.approx(100e-6)


@pytest.mark.parametrize(
    ("timing", "psize", "erase", "program"),
    [
        (Timing.TYPICAL, 3, 1.0, 100e-6),
        (Timing.MAXIMUM, 3, 2.0, 200e-6),
        (Timing.MAXIMUM, 0, 4.0, 580e-6),
    ],
)
def test_operations_take_the_time_of_the_datasheet(
    timing: Timing, psize: int, erase: float, program: float
) -> None:
    chip = Chip(timing)
    chip.unlock()
    chip.regs.write(SECOND + CR, 4, psize << 4 | SER | START)
    chip.wait()
    assert chip.clock.now == pytest.approx(erase, rel=1e-3)
    chip.regs.write(SECOND + CR, 4, psize << 4 | PG)
    chip.store(BANK2, DATA)
    chip.wait()
    assert chip.clock.now - erase == pytest.approx(program, rel=1e-2)


def test_changing_the_parallelism_during_an_operation_is_reported(chip: Chip) -> None:
    chip.regs.write(SECOND + CR, 4, X64 | SER | START)
    with pytest.raises(SimulationFault):
        chip.regs.write(SECOND + CR, 4, 0)


def test_a_corrected_read_sets_its_flag_and_the_word_number(chip: Chip) -> None:
    chip.flash.plant(BANK2 + 0x140, Word.CORRECTED)
    assert chip.regs.sense(BANK2 + 0x144) is Word.CORRECTED
    assert Sr(chip.regs.read(SECOND + SR, 4)) == Sr.SNECCERR
    assert chip.regs.read(SECOND + 0x60, 4) == 10


def test_the_failing_address_is_the_first_one_until_both_flags_are_cleared(chip: Chip) -> None:
    chip.flash.plant(BANK2 + 0x140, Word.POISONED)
    chip.flash.plant(BANK2 + 0x160, Word.CORRECTED)
    chip.regs.sense(BANK2 + 0x140)
    chip.regs.sense(BANK2 + 0x160)
    assert chip.regs.read(SECOND + 0x60, 4) == 10
    chip.regs.write(SECOND + CCR, 4, Sr.SNECCERR)
    assert chip.regs.read(SECOND + 0x60, 4) == 10
    chip.regs.write(SECOND + CCR, 4, Sr.DBECCERR)
    assert chip.regs.read(SECOND + 0x60, 4) == 0


def test_a_weak_word_reads_right_a_few_times_and_then_is_poisoned(chip: Chip) -> None:
    chip.program(BANK2)
    chip.flash.plant(BANK2, Word.WEAK, reads=2)
    passes = [[chip.regs.sense(BANK2 + at) for at in range(0, 32, 4)] for _ in range(3)]
    assert [set(states) for states in passes] == [{Word.WEAK}, {Word.WEAK}, {Word.POISONED}]


def test_a_reset_during_an_erase_tears_it_and_leaves_operr(chip: Chip) -> None:
    chip.program(BANK2)
    chip.regs.write(SECOND + CR, 4, X64 | SER | START)
    chip.regs.reset()
    assert Sr(chip.regs.read(SECOND + SR, 4)) == Sr.OPERR
    states = {chip.flash.word_state(BANK2 + 32 * word) for word in range(4096)}
    assert states - {Word.BLANK, Word.PROGRAMMED}


def test_a_planted_program_error_sets_operr_and_changes_nothing(chip: Chip) -> None:
    chip.flash.faults.program_errors[BANK2] = 1
    assert chip.program(BANK2) == Sr.OPERR
    chip.regs.write(SECOND + CCR, 4, Sr.OPERR)
    assert chip.program(BANK2) == Sr.EOP


def test_a_planted_erase_error_sets_operr_and_changes_nothing(chip: Chip) -> None:
    chip.program(BANK2)
    chip.flash.faults.erase_errors[BANK2] = 1
    assert chip.erase(0) & Sr.OPERR
    assert chip.flash.peek(BANK2, 32) == DATA


def test_a_sector_that_never_verifies_reads_back_wrong_without_a_flag(chip: Chip) -> None:
    chip.flash.faults.never_verifies.add(BANK2)
    assert chip.program(BANK2 + 64) == Sr.EOP
    assert chip.flash.peek(BANK2 + 64, 32) != DATA


def unlock_options(chip: Chip) -> None:
    for key in OPTION_KEYS:
        chip.regs.write(OPTKEYR, 4, key)


def test_option_bytes_change_on_optstart_only(chip: Chip) -> None:
    factory = chip.regs.read(OPTSR_CUR, 4)
    new = factory & ~0xFF00 | 0x5500
    chip.regs.write(OPTSR_PRG, 4, new)
    assert chip.regs.read(OPTSR_PRG, 4) == factory
    unlock_options(chip)
    chip.regs.write(OPTSR_PRG, 4, new)
    assert chip.regs.read(OPTSR_CUR, 4) == factory
    chip.regs.write(OPTCR, 4, 2)
    assert chip.regs.read(OPTSR_CUR, 4) == new
    assert chip.flash.options.rdp_level == 1


def test_leaving_level_1_erases_all_user_flash(chip: Chip) -> None:
    chip.program(BANK2)
    chip.flash.options = chip.flash.options.with_rdp(0x55)
    chip.regs.reset()
    unlock_options(chip)
    chip.regs.write(OPTSR_PRG, 4, chip.flash.options.with_rdp(0xAA).optsr)
    chip.regs.write(OPTCR, 4, 2)
    assert chip.flash.peek(BANK2, 32) == b"\xff" * 32


def test_level_2_cannot_be_left(chip: Chip) -> None:
    chip.flash.options = chip.flash.options.with_rdp(0xCC)
    chip.regs.reset()
    unlock_options(chip)
    chip.regs.write(OPTSR_PRG, 4, chip.flash.options.with_rdp(0xAA).optsr)
    chip.regs.write(OPTCR, 4, 2)
    assert chip.flash.options.rdp_level == 2
    assert chip.regs.read(OPTSR_CUR, 4) >> 30 & 1


def test_an_unknown_flash_register_is_reported(chip: Chip) -> None:
    with pytest.raises(SimulationFault):
        chip.regs.read(0x54, 4)
