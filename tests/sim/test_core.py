"""The virtual core by small programs: faults, sleeping, resets, and what it reports."""

from __future__ import annotations

import time

import pytest
from sim.firmware import APP, build

from packager.chip import CHIPS
from packager.errors import SimulationFault
from packager.sim.board import Board, BootReport, Outcome
from packager.sim.cells import Word
from packager.sim.flash_registers import FlashRegisters
from packager.sim.pacer import FIRST_SILENCE

APP_AT = 0x0810_0000
DATA_AT = 0x081E_0000
ROM_JUMP = """
static void enter_rom(void) {
    uint32_t sp = REG(0x1FF09800u), pc = REG(0x1FF09804u);
    __asm volatile("msr msp, %0\\n bx %1" ::"r"(sp), "r"(pc) : "memory");
}
"""
PROBE = """
static uint32_t probe(uint32_t at, uint32_t ignore) {
    uint32_t value;
    SCB_CCR |= ignore;
    __asm volatile("cpsid f\\n dsb\\n ldr %0, [%1]\\n dsb\\n cpsie f"
                   : "=&r"(value) : "r"(at) : "memory");
    SCB_CCR &= ~0x100u;
    return value;
}
"""


@pytest.fixture
def board() -> Board:
    return Board.new(CHIPS["stm32h743xi"])


def run(board: Board, body: str, **options: bool) -> BootReport:
    board.program(build(body))
    return board.boot(**options)


def test_a_loader_reaches_the_application(board: Board) -> None:
    board.program(build(APP, at=APP_AT))
    report = run(board, 'void main(void) { print("loader\\n"); jump(BANK2); }')
    assert report.outcome is Outcome.APP_RUNS
    assert report.uart == "loader\napp\n"
    assert report.handover is not None
    assert report.handover.vtor == APP_AT


def test_a_poisoned_word_raises_a_bus_fault_with_its_address(board: Board) -> None:
    board.flash.plant(DATA_AT, Word.POISONED)
    body = """
    void bus_fault(void) { print_hex(SCB_CFSR); print_hex(SCB_BFAR); for (;;) {} }
    void main(void) { SCB_SHCSR = 1u << 17; print_hex(REG(0x081E0004u)); }
    """
    report = run(board, body)
    assert report.uart == "00008200\n081e0004\n"
    assert report.outcome is Outcome.STAYS_PARKED
    assert "BUS_FAULT PRECISERR" in report.faults[0]


def test_a_poisoned_word_is_met_by_a_run_that_is_not_strict_too(board: Board) -> None:
    board.flash.plant(DATA_AT, Word.POISONED)
    report = run(board, "void main(void) { print_hex(REG(0x081E0000u)); }", strict=False)
    assert report.uart == "hard fault\n"


def test_a_word_poisoned_on_the_way_is_met_by_a_run_that_is_not_strict_too(board: Board) -> None:
    body = """
    static const uint32_t d[8];
    void main(void) {
        unlock(1);
        program(1, 0x081E0000u, d); program(1, 0x081E0000u, d);
        FLASH_SR(1);
        print_hex(REG(0x081E0000u));
    }
    """
    assert run(board, body, strict=False).uart == "hard fault\n"


def test_a_bus_fault_that_is_not_enabled_becomes_a_hard_fault(board: Board) -> None:
    board.flash.plant(DATA_AT, Word.POISONED)
    body = """
    void hard_fault(void) { print_hex(SCB_HFSR); for (;;) {} }
    void main(void) { print_hex(REG(0x081E0000u)); }
    """
    assert run(board, body).uart == "40000000\n"


def test_a_bus_fault_behind_primask_becomes_a_hard_fault(board: Board) -> None:
    board.flash.plant(DATA_AT, Word.POISONED)
    body = """
    void main(void) { SCB_SHCSR = 1u << 17; __asm volatile("cpsid i"); REG(0x081E0000u); }
    """
    assert run(board, body).uart == "hard fault\n"


def test_a_handler_that_mends_the_return_address_goes_on_behind_the_load(board: Board) -> None:
    board.flash.plant(DATA_AT, Word.POISONED)
    body = """
    __attribute__((naked)) void bus_fault(void) {
        __asm volatile("ldr r0, [sp, #24]\\n adds r0, #2\\n str r0, [sp, #24]\\n bx lr");
    }
    void main(void) {
        SCB_SHCSR = 1u << 17;
        uint32_t sp1, sp2;
        __asm volatile("mov %0, sp\\n ldr r2, =0x081E0000\\n ldr.n r2, [r2]\\n mov %1, sp"
                       : "=&r"(sp1), "=&r"(sp2) :: "r2", "memory");
        print(sp1 == sp2 ? "same stack\\n" : "other stack\\n");
    }
    """
    assert run(board, body).uart == "same stack\n"


def test_a_probing_read_survives_a_poisoned_word_and_sees_the_flag(board: Board) -> None:
    board.flash.plant(DATA_AT, Word.POISONED)
    body = (
        PROBE
        + """
    void main(void) { probe(0x081E0000u, 0x100u); print_hex(FLASH_SR(1)); }
    """
    )
    report = run(board, body)
    assert report.uart == "04000000\n"
    assert report.faults == []


def test_a_probing_read_gives_garbage_that_differs_each_time(board: Board) -> None:
    board.flash.plant(DATA_AT, Word.POISONED)
    body = (
        PROBE
        + """
    void main(void) {
        uint32_t a = probe(0x081E0000u, 0x100u), b = probe(0x081E0000u, 0x100u);
        print(a == b ? "same" : "differs");
    }
    """
    )
    assert run(board, body).uart == "differs"


def test_faultmask_without_bfhfnmign_locks_up_on_a_poisoned_word(board: Board) -> None:
    board.flash.plant(DATA_AT, Word.POISONED)
    report = run(board, PROBE + "void main(void) { probe(0x081E0000u, 0u); }")
    assert report.outcome is Outcome.LOCKED_UP


def test_a_corrected_word_reads_right_and_sets_the_flag(board: Board) -> None:
    board.flash.plant(DATA_AT, Word.CORRECTED, data=bytes(range(32)))
    report = run(board, "void main(void) { print_hex(REG(0x081E0004u)); print_hex(FLASH_SR(1)); }")
    assert report.uart == "07060504\n02000000\n"


def test_a_poisoned_word_of_the_program_itself_faults_at_the_fetch(board: Board) -> None:
    board.program(build('void main(void) { print("never"); }'))
    board.flash.plant(0x0800_0040, Word.POISONED)
    report = board.boot()
    assert "BUS_FAULT IBUSERR, pc 0x08000040" in report.faults
    assert report.uart == "hard fault\n"


def test_a_wrong_flash_key_is_a_bus_fault(board: Board) -> None:
    report = run(board, 'void main(void) { FLASH_KEYR(1) = 1u; print("on"); for (;;) {} }')
    assert "IMPRECISERR" in report.faults[0]


def test_reading_nowhere_is_a_bus_fault(board: Board) -> None:
    report = run(board, "void main(void) { REG(0x60000000u); }")
    assert report.uart == "hard fault\n"
    assert "0x60000000" in report.faults[0]


def test_an_undefined_instruction_is_a_fault(board: Board) -> None:
    report = run(board, 'void main(void) { __asm volatile("udf #1"); }')
    assert "UNDEFINSTR" in report.faults[0]


def test_the_hole_between_the_banks_of_a_1_mb_part_is_a_bus_fault() -> None:
    small = Board.new(CHIPS["stm32h743xg"])
    assert run(small, "void main(void) { REG(0x08080000u); }").uart == "hard fault\n"


@pytest.mark.parametrize(
    "body", ["*(volatile uint32_t *)0x081E0002u", "*(volatile uint16_t *)0x08020001u"]
)
def test_an_unaligned_load_from_flash_is_reported(board: Board, body: str) -> None:
    with pytest.raises(SimulationFault, match="unaligned load"):
        run(board, f"void main(void) {{ (void){body}; }}")


def test_an_unaligned_store_to_flash_is_reported(board: Board) -> None:
    with pytest.raises(SimulationFault, match="unaligned store"):
        run(board, "void main(void) { *(volatile uint32_t *)0x081E0002u = 1; }")


def test_an_unknown_peripheral_is_reported_with_its_address(board: Board) -> None:
    with pytest.raises(SimulationFault, match="0x40026000"):
        run(board, "void main(void) { REG(0x40026000u) = 1; }")


def test_a_register_set_with_a_known_value_reads_back(board: Board) -> None:
    body = "void main(void) { REG(0x58020014u) = 0x10u; print_hex(REG(0x58020014u)); }"
    assert run(board, body).uart == "00000010\n"


def test_a_reset_bit_takes_the_registers_of_its_peripheral_back(board: Board) -> None:
    body = """
    void main(void) {
        REG(0x58020000u) = 0; REG(0x40040804u) = 2; REG(0x40008400u) = 0x60u;
        REG(0x58024480u) = 1u << 25; REG(0x58024488u) = 1u;
        print_hex(REG(0x58020000u)); print_hex(REG(0x40040804u)); print_hex(REG(0x40008400u));
    }
    """
    assert run(board, body).uart == "abffffff\n00000000\n00000060\n"


def test_interrupts_are_set_and_cleared_bit_by_bit(board: Board) -> None:
    body = """
    void main(void) {
        REG(0xE000E100u) = 6u; REG(0xE000E180u) = 2u; print_hex(REG(0xE000E180u));
        REG(0xE000E204u) = 9u; REG(0xE000E284u) = 1u; print_hex(REG(0xE000E204u));
        REG(0xE000ED04u) = 1u << 28; print_hex(REG(0xE000ED04u));
        REG(0xE000ED04u) = 1u << 27; print_hex(REG(0xE000ED04u));
    }
    """
    assert run(board, body).uart == "00000004\n00000008\n10000000\n00000000\n"


def test_what_a_loader_leaves_behind_is_seen_when_the_application_is_entered(board: Board) -> None:
    board.program(build(APP, at=APP_AT))
    left = {0x5802_44D8: 1 << 25, 0x4004_0804: 2, 0xE000_E104: 8, 0xE000_ED24: 1 << 17}
    stores = "".join(f"REG(0x{at:08X}u) = {value}u;" for at, value in left.items())
    entered = run(board, f"void main(void) {{ {stores} jump(BANK2); }}").handover
    assert entered is not None
    assert entered.changed == left
    entered = run(board, "void main(void) { unlock(1); jump(BANK2); }").handover
    assert entered is not None
    assert entered.changed == {0x5200_210C: 0x30}


def test_a_region_of_the_mpu_that_is_left_enabled_is_seen_though_the_mpu_is_off(
    board: Board,
) -> None:
    board.program(build(APP, at=APP_AT))
    stores = "REG(0xE000ED9Cu) = 0x08000010u; REG(0xE000EDA0u) = 0x10000029u;"
    entered = run(board, f"void main(void) {{ {stores} jump(BANK2); }}").handover
    assert entered is not None
    assert entered.changed == {0xE000_EDA0: 1}


def test_the_mpu_rules_by_regions_that_nobody_wrote_since_the_reset(board: Board) -> None:
    board.program(build(APP, at=APP_AT))
    with pytest.raises(SimulationFault, match="execute-never"):
        run(board, "void main(void) { REG(0xE000ED94u) = 5; jump(BANK2); }")


def test_a_load_from_normal_memory_may_also_sense_the_word_behind(board: Board) -> None:
    """Its data are dropped, the flag stays; Device memory reads what is asked for and no more."""
    board.flash.plant(DATA_AT + 32, Word.POISONED)
    load = f"(void)REG({DATA_AT + 28:#x}u); print_hex(FLASH_SR(1) >> 26 & 1);"
    clear = "for (int i = 15; i >= 0; i--) { REG(0xE000ED98u) = i; REG(0xE000EDA0u) = 0; }"
    device = "REG(0xE000ED9Cu) = BANK2; REG(0xE000EDA0u) = 0x03010027u;"
    on = "REG(0xE000ED94u) = 5;"
    assert run(board, f"void main(void) {{ {load} }}").uart == "00000001\n"
    closed = f"void main(void) {{ {clear} {device} {on} {load} }}"
    assert run(board, closed).uart == "00000000\n"


def test_a_bank_that_is_changed_by_its_own_code_is_reported(board: Board) -> None:
    with pytest.raises(SimulationFault, match="bank that is being changed"):
        run(board, "void main(void) { unlock(0); erase(0, 7); }")


IN_RAM = """
ITCM uint32_t erase_in_ram(uint32_t early) {
    FLASH_CR(0) = 0x34u | 7u << 8;
    FLASH_CR(0) = 0xB4u | 7u << 8;
    if (early) { return 1; }
    while (FLASH_SR(0) & 4u) {}
    return 0;
}
"""


def test_the_same_bank_may_be_changed_from_ram(board: Board) -> None:
    report = run(board, IN_RAM + 'void main(void) { unlock(0); erase_in_ram(0); print("ok"); }')
    assert report.uart == "ok"
    assert len(report.operations) == 1


def test_returning_into_a_busy_bank_is_reported(board: Board) -> None:
    with pytest.raises(SimulationFault, match="bank that is being changed"):
        run(board, IN_RAM + "void main(void) { unlock(0); erase_in_ram(1); }")


@pytest.mark.parametrize("control", [0x30, 0x32])
def test_a_store_that_starts_nothing_changes_nothing(board: Board, control: int) -> None:
    body = f"""
    void main(void) {{
        unlock(1);
        FLASH_CR(1) = {control}u;
        REG(0x081E0000u) = 0; REG(0x081E0004u) = 0;
        print_hex(REG(0x081E0000u)); print_hex(REG(0x081E0004u));
    }}
    """
    assert run(board, body).uart == "ffffffff\nffffffff\n"
    assert board.read(DATA_AT, 32) == b"\xff" * 32


def test_a_program_that_fails_leaves_the_word_blank(board: Board) -> None:
    board.flash.faults.program_errors[DATA_AT] = 1
    body = """
    static const uint32_t d[8];
    void main(void) {
        unlock(1); print_hex(program(1, 0x081E0000u, d)); print_hex(REG(0x081E001Cu));
    }
    """
    assert run(board, body).uart == "00400000\nffffffff\n"


def test_a_read_of_a_busy_bank_stalls_until_the_operation_ends(board: Board) -> None:
    body = """
    void main(void) {
        unlock(1);
        FLASH_CR(1) = 0x34u; FLASH_CR(1) = 0xB4u;
        REG(BANK2);
        print_hex(FLASH_SR(1));
    }
    """
    report = run(board, body)
    assert report.uart == "00010000\n"
    assert report.seconds["erase"] == pytest.approx(1.0)


def test_a_read_of_the_other_bank_goes_on_during_an_operation(board: Board) -> None:
    body = """
    void main(void) {
        unlock(1);
        FLASH_CR(1) = 0x34u; FLASH_CR(1) = 0xB4u;
        REG(0x08020000u);
        print(FLASH_SR(1) & 4u ? "busy" : "idle");
    }
    """
    assert run(board, body).uart == "busy"


def test_a_jump_into_execute_never_memory_is_reported(board: Board) -> None:
    body = """
    void main(void) {
        REG(0xE000ED98u) = 0; REG(0xE000ED9Cu) = BANK2;
        REG(0xE000EDA0u) = 1u << 28 | 3u << 24 | 19u << 1 | 1u;
        REG(0xE000ED94u) = 5u;
        jump(BANK2);
    }
    """
    board.program(build(APP, at=APP_AT))
    with pytest.raises(SimulationFault, match="execute-never"):
        run(board, body)


def test_speculation_into_system_memory_raises_flags_unless_the_mpu_closes_it(board: Board) -> None:
    work = """
    static uint32_t work(void) {
        static const uint32_t d[8];
        uint32_t seen = 0;
        unlock(1);
        for (uint32_t i = 0; i < 8; i++) { program(1, BANK2 + 32u * i, d); seen |= FLASH_SR(0); }
        return seen;
    }
    """
    close = """
    REG(0xE000ED98u) = 0; REG(0xE000ED9Cu) = 0x1FF00000u;
    REG(0xE000EDA0u) = 1u << 28 | 18u << 1 | 1u; REG(0xE000ED94u) = 5u;
    """
    assert run(board, work + "void main(void) { print_hex(work()); }").uart == "01800000\n"
    board = Board.new(CHIPS["stm32h743xi"])
    assert (
        run(board, work + f"void main(void) {{ {close} print_hex(work()); }}").uart == "00000000\n"
    )


def test_a_core_that_sleeps_for_ever_is_parked(board: Board) -> None:
    report = run(board, 'void main(void) { for (;;) { __asm volatile("wfi"); } }')
    assert report.outcome is Outcome.STAYS_PARKED


SLEEPS = """
    static void sleeps(void) {
        REG(0xE000E014u) = 0xFFFFFFu; REG(0xE000E018u) = 0; REG(0xE000E010u) = 7;
        for (;;) {
            IWDG_KR = 0xAAAAu;
            __asm volatile("wfi");
            REG(0xE000ED04u) = 1u << 25;
        }
    }
    void hard_fault(void) { sleeps(); }
    void main(void) { IWDG_KR = 0xCCCCu; __asm volatile("cpsid i"); REG(AT); sleeps(); }
"""


def test_a_tick_wakes_a_core_that_sleeps_but_not_in_a_handler_it_could_not_interrupt(
    board: Board,
) -> None:
    board.program(build(SLEEPS.replace("AT", f"{DATA_AT:#x}u")))

    fed = board.boot(limit_seconds=30)
    board.flash.plant(DATA_AT, Word.POISONED)
    starved = board.boot(limit_seconds=30)

    assert (fed.outcome, fed.resets) == (Outcome.STAYS_PARKED, [])
    assert starved.outcome is Outcome.RESET_LOOP
    assert set(starved.resets) == {"watchdog"}


def test_a_core_that_spins_for_ever_is_parked(board: Board) -> None:
    assert run(board, "void main(void) { for (;;) {} }").outcome is Outcome.STAYS_PARKED


def test_a_core_that_only_feeds_its_watchdog_is_parked(board: Board) -> None:
    body = "void main(void) { IWDG_KR = 0xCCCCu; for (;;) { IWDG_KR = 0xAAAAu; } }"
    assert run(board, body).outcome is Outcome.STAYS_PARKED


def test_a_watchdog_that_is_not_fed_resets_the_chip(board: Board) -> None:
    body = """
    void main(void) {
        if (REG(0x580244D0u) & 1u << 26) { print("bitten"); for (;;) { __asm volatile("wfi"); } }
        IWDG_KR = 0xCCCCu; IWDG_KR = 0x5555u; REG(0x58004808u) = 99u;
        for (;;) {}
    }
    """
    board.program(build(body))
    report = board.boot(limit_seconds=0.1)
    assert report.resets[0] == "watchdog"
    assert report.uart == "bitten"


def test_an_erase_that_starves_the_watchdog_is_torn_by_the_reset(board: Board) -> None:
    board.program({DATA_AT: bytes(range(32)) * 4096})
    body = """
    void main(void) {
        print_hex(FLASH_SR(1));
        if (FLASH_SR(1) & 1u << 22) { for (;;) { __asm volatile("wfi"); } }
        IWDG_KR = 0xCCCCu;
        unlock(1);
        FLASH_CR(1) = 0x734u; FLASH_CR(1) = 0x7B4u;
        while (FLASH_SR(1) & 4u) {}
    }
    """
    report = run(board, body)
    assert report.uart == "00000000\n00400000\n"
    assert report.resets == ["watchdog"]
    assert any(board.flash.word_state(DATA_AT + 32 * n) is Word.POISONED for n in range(4096))


def test_a_program_that_resets_for_ever_ends_as_a_reset_loop(board: Board) -> None:
    report = run(board, "void main(void) { SCB_AIRCR = 0x05FA0004u; for (;;) {} }")
    assert report.outcome is Outcome.RESET_LOOP
    assert set(report.resets) == {"reset"}


def test_backup_registers_survive_a_reset_but_not_the_power_switch(board: Board) -> None:
    body = """
    void main(void) {
        REG(0x58024800u) |= 0x100u;
        if (REG(0x58004050u) == 0x1234u) { print("again"); for (;;) { __asm volatile("wfi"); } }
        print("first ");
        REG(0x58004050u) = 0x1234u;
        SCB_AIRCR = 0x05FA0004u;
    }
    """
    assert run(board, body).uart == "first again"
    assert board.boot().uart == "first again"


def test_systick_interrupts_a_sleeping_application(board: Board) -> None:
    app = """
    static volatile uint32_t ticks;
    void tick(void) { ticks++; }
    void main(void) {
        REG(0xE000E014u) = 63999u; REG(0xE000E018u) = 0; REG(0xE000E010u) = 7u;
        ticks = 0;
        while (ticks < 5u) { __asm volatile("wfi"); }
        print("five ticks"); for (;;) {}
    }
    """
    board.program(build(app, at=APP_AT))
    report = run(board, "void main(void) { jump(BANK2); }")
    assert report.uart == "five ticks"


def test_a_delay_by_systick_takes_its_time_and_ends(board: Board) -> None:
    body = """
    void main(void) {
        REG(0xE000E014u) = 0xFFFFFFu; REG(0xE000E018u) = 0; REG(0xE000E010u) = 5u;
        uint32_t begin = REG(0xE000E018u);
        while (begin - REG(0xE000E018u) < 640000u) {}
        print("done");
    }
    """
    report = run(board, body)
    assert report.uart == "done"
    assert report.seconds["cpu"] == pytest.approx(0.01, rel=0.1)


def test_the_rom_is_entered_through_its_vectors(board: Board) -> None:
    report = run(board, ROM_JUMP + "void main(void) { enter_rom(); }")
    assert report.outcome is Outcome.STAYS_IN_ROM
    assert board.rom is not None


def test_entering_the_rom_with_interrupts_masked_is_reported(board: Board) -> None:
    with pytest.raises(SimulationFault, match="interrupts masked"):
        run(board, ROM_JUMP + 'void main(void) { __asm volatile("cpsid i"); enter_rom(); }')


def test_a_blank_chip_locks_up(board: Board) -> None:
    report = board.boot()
    assert report.outcome is Outcome.LOCKED_UP
    assert "blank" in report.faults[0]


def test_a_poisoned_vector_table_locks_up(board: Board) -> None:
    board.program(build(APP))
    board.flash.plant(0x0800_0000, Word.POISONED)
    assert board.boot().outcome is Outcome.LOCKED_UP


def test_counting_gives_the_number_of_instructions(board: Board) -> None:
    body = """
    void main(void) {
        __asm volatile("ldr r0, =1000000\\n 1: subs r0, #1\\n bne 1b" ::: "r0", "cc");
        for (;;) { __asm volatile("wfi"); }
    }
    """
    report = run(board, body, count=True)
    assert report.instructions == pytest.approx(2_000_000, rel=1e-3)
    assert report.seconds["cpu"] == pytest.approx(2_000_000 / 64e6, rel=1e-2)


def test_the_core_finds_unique_id_flash_size_and_device_id(board: Board) -> None:
    body = "void main(void) { print_hex(REG(0x5C001000u)); print_hex(REG(0x1FF1E880u) & 0xFFFFu); }"
    assert run(board, body).uart == "20036450\n00000800\n"


def test_the_supply_supervisor_sees_a_sagging_supply(board: Board) -> None:
    board.supply_volts = lambda now: 2.4
    body = "void main(void) { REG(0x58024800u) |= 0xD0u; print_hex(REG(0x58024804u) & 0x10u); }"
    assert run(board, body).uart == "00000010\n"


def test_a_long_run_repeats_and_loses_no_store(board: Board) -> None:
    body = """
    static const uint32_t d[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    void main(void) {
        uint32_t bad = 0;
        unlock(1);
        for (uint32_t i = 0; i < 4096; i++) {
            bad |= program(1, 0x081C0000u + 32u * i, d) ^ 0x10000u;
        }
        print_hex(bad);
    }
    """
    report = run(board, body)
    assert report.uart == "00000000\n"
    assert len(report.operations) == 4096
    assert all(op.virgin for op in report.operations)


def test_a_store_that_takes_long_is_done_once(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a garbage collection runs in it; the emulator's silence looks the same."""

    def store_slowly(registers: FlashRegisters, *store: int) -> None:
        monkeypatch.undo()
        registers.store(*store)
        began = time.thread_time()
        while time.thread_time() < began + 4 * FIRST_SILENCE:
            pass

    monkeypatch.setattr(FlashRegisters, "store", store_slowly)
    body = """
    static const uint32_t d[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    void main(void) { unlock(1); print_hex(program(1, 0x081C0000u, d)); }
    """
    assert run(board, body).uart == "00010000\n"


def test_a_computation_without_any_access_ends_by_itself(board: Board) -> None:
    body = """
    void main(void) {
        __asm volatile("ldr r0, =60000000\\n 1: subs r0, #1\\n bne 1b" ::: "r0", "cc");
        print("done");
    }
    """
    assert run(board, body).uart == "done"


def test_a_load_inside_an_it_block_leaves_the_instructions_after_it_unconditional(
    board: Board,
) -> None:
    body = """
    __attribute__((naked, noinline)) static uint32_t after(uint32_t value) {
        __asm volatile("adds r0, r0, #1\\n adds r0, r0, #1\\n adds r0, r0, #1\\n bx lr");
    }
    __attribute__((naked, noinline)) static uint32_t before(uint32_t at, uint32_t one) {
        __asm volatile("push {r4, lr}\\n cmp r1, #4\\n itte ls\\n"
                       "ldrls r2, [r0]\\n ldrls r3, [r0, #4]\\n ldrhi r2, [r0, #8]\\n"
                       "bl after_it\\n pop {r4, pc}");
    }
    __asm(".thumb_func\\n.type after_it, %function\\nafter_it:\\n"
          "adds r0, r2, #1\\n adds r0, r0, #1\\n adds r0, r0, #1\\n bx lr");
    void main(void) { print_hex(after(0)); print_hex(before(0x081E0000u, 1)); }
    """
    board.program({DATA_AT: (0x10).to_bytes(4, "little") + bytes(28)})
    assert run(board, body).uart == "00000003\n00000013\n"
