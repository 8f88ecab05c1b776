"""Read-out protection: what a debugger, the ROM and a program see at each level; reset and pins."""

from __future__ import annotations

from pathlib import Path

import pytest
from sim.firmware import APP, build

from packager.chip import CHIPS
from packager.cli import run
from packager.errors import PackagerError, ProtectedError
from packager.sim.board import Board, Outcome

SECRET = bytes(range(32))
SECRET_AT, APP_AT, SRAM4 = 0x0802_0000, 0x0810_0000, 0x3800_0000


@pytest.fixture
def board() -> Board:
    board = Board.new(CHIPS["stm32h743xi"])
    body = """
    void main(void) {
        REG(0x38000000u) = 0x5EC2E75u; print_hex(REG(0x08020000u)); jump(BANK2);
    }
    """
    board.program({**build(body), **build(APP, at=APP_AT), SECRET_AT: SECRET})
    return board


def test_at_level_0_a_debugger_reads_and_writes_everything(board: Board) -> None:
    with board.debugger() as debugger:
        assert debugger.read(SECRET_AT, 32) == SECRET
        debugger.write(0x0804_0000, b"new")
        debugger.write(SRAM4, b"ram")
        assert debugger.read(0x0804_0000, 3) == b"new"
        assert debugger.read(SRAM4, 3) == b"ram"


def test_at_level_1_the_program_runs_undisturbed(board: Board) -> None:
    board.protect(1)
    report = board.boot()
    assert report.outcome is Outcome.APP_RUNS
    assert report.uart == "03020100\napp\n"


def test_at_level_1_a_debugger_cannot_read_flash_but_what_lies_in_ram(board: Board) -> None:
    board.protect(1)
    board.boot()
    with board.debugger() as debugger:
        with pytest.raises(ProtectedError, match="RDP level 1"):
            debugger.read(SECRET_AT, 32)
        with pytest.raises(ProtectedError, match="RDP level 1"):
            debugger.write(SECRET_AT, bytes(32))
        assert debugger.read(SRAM4, 4) == (0x5EC2E75).to_bytes(4, "little")
    assert board.read(SECRET_AT, 32) == SECRET


def test_at_level_1_a_debugger_stops_the_program_until_the_power_was_switched(
    board: Board,
) -> None:
    board.protect(1)
    debugger = board.debugger()
    assert board.boot().outcome is Outcome.LOCKED_UP
    debugger.detach()
    assert board.press_reset().outcome is Outcome.LOCKED_UP
    assert board.boot().outcome is Outcome.APP_RUNS


def test_a_debugger_that_attaches_while_the_program_runs_stops_it(board: Board) -> None:
    board.protect(1)
    board.on_jump = lambda handover: board.debugger() and None  # type: ignore[func-returns-value]
    body = 'void main(void) { for (;;) { print("x"); (void)REG(0x58024400u); } }'
    board.program(build(body, at=APP_AT))
    report = board.boot()
    assert any("IBUSERR" in fault or "PRECISERR" in fault for fault in report.faults)


def test_leaving_level_1_erases_flash_and_backup_registers(board: Board) -> None:
    body = """
    void main(void) {
        REG(0x58024800u) |= 0x100u; REG(0x58004050u) = 0x1234u; REG(0x38800000u) = 1u;
        for (;;) { __asm volatile("wfi"); }
    }
    """
    board.program(build(body))
    board.protect(1)
    board.boot()
    board.protect(0)
    assert board.read(SECRET_AT, 32) == b"\xff" * 32
    assert board.read(0x3880_0000, 4) == bytes(4)
    assert board._peripherals.peek(0x5800_4050) == 0


def test_level_2_is_final_and_has_no_debug_port(board: Board) -> None:
    board.protect(2)
    with pytest.raises(ProtectedError, match="RDP level 2"):
        board.debugger()
    for level in (0, 1):
        with pytest.raises(ProtectedError, match="final"):
            board.protect(level)
    board.protect(2)
    assert board.boot().outcome is Outcome.APP_RUNS


def test_at_level_2_boot0_does_not_start_the_rom(board: Board) -> None:
    board.protect(2)
    assert board.boot(boot0=True).outcome is Outcome.APP_RUNS
    assert board.device is None


def test_there_is_no_level_3(board: Board) -> None:
    with pytest.raises(PackagerError, match="no such level"):
        board.protect(3)


def test_the_commands_protect_and_refuse_to_read(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = str(tmp_path / "board.sim"), str(tmp_path / "out.bin")
    board.save(path)
    assert run(["sim", "read", path, hex(SECRET_AT), "32", "-o", out]) == 0
    assert Path(out).read_bytes() == SECRET
    assert run(["sim", "protect", path, "1"]) == 0
    assert run(["sim", "read", path, hex(SECRET_AT), "32", "-o", out]) == ProtectedError.exit_code
    assert "RDP level 1" in capsys.readouterr().err
    assert run(["sim", "boot", path]) == 0
    assert run(["sim", "protect", path, "0"]) == 0
    assert "all flash erased" in capsys.readouterr().out
    assert run(["sim", "protect", path, "2"]) == 0
    assert run(["sim", "protect", path, "0"]) == ProtectedError.exit_code
    assert run(["sim", "read", path, hex(SECRET_AT), "32", "-o", out]) == ProtectedError.exit_code


# -- reset and pins -----------------------------------------------------------------------------


CAUSES = """
void main(void) {
    uint32_t first = REG(0x24000000u) != 0xCAFEu;
    print_hex(REG(0x580244D0u)); REG(0x580244D0u) = 1u << 16;
    REG(0x58024800u) |= 0x100u;
    print_hex(REG(0x580040C8u)); REG(0x580040C8u) = 0x44465531u;
    REG(0x24000000u) = 0xCAFEu;
    print(first ? "first\\n" : "again\\n");
    for (;;) { __asm volatile("wfi"); }
}
"""


def test_the_reset_button_keeps_ram_and_backup_registers_and_is_seen_as_such(board: Board) -> None:
    board.program(build(CAUSES))
    assert board.boot().uart == "00fe0000\n00000000\nfirst\n"
    assert board.press_reset().uart.endswith("00420000\n44465531\nagain\n")
    assert board.boot().uart == "00fe0000\n00000000\nfirst\n"


def test_a_backup_register_wants_its_clock_and_the_write_protection_off(board: Board) -> None:
    body = """
    void main(void) {
        REG(0x580040C8u) = 1u; print_hex(REG(0x580040C8u));
        REG(0x58024800u) |= 0x100u; REG(0x580040C8u) = 2u; print_hex(REG(0x580040C8u));
        REG(0x580244F4u) &= ~(1u << 16); REG(0x580040C8u) = 3u; print_hex(REG(0x580040C8u));
        REG(0x580244F4u) |= 1u << 16; print_hex(REG(0x580040C8u));
        for (;;) { __asm volatile("wfi"); }
    }
    """
    board.program(build(body))
    assert board.boot().uart == "00000000\n00000002\n00000000\n00000002\n"


PIN = """
void main(void) {
    @SETUP@
    for (int i = 0; i < @READS@; i++) { (void)REG(0x58020810u); }
    print(REG(0x58020810u) & 1u << 13 ? "high" : "low");
    for (;;) { __asm volatile("wfi"); }
}
"""
CLOCK = "REG(0x580244E0u) |= 1u << 2;"
INPUT = "REG(0x58020800u) &= ~(3u << 26);"
PULL_UP = "REG(0x5802080Cu) |= 1u << 26;"


@pytest.mark.parametrize(
    ("setup", "driven", "seen"),
    [
        (CLOCK + INPUT, True, "high"),
        (CLOCK + INPUT, False, "low"),
        (CLOCK + INPUT, None, "low"),
        (CLOCK + INPUT + PULL_UP, None, "high"),
        (CLOCK + INPUT + PULL_UP, False, "low"),
        (INPUT, True, "low"),
        (CLOCK, True, "low"),
    ],
)
def test_a_pin_reads_what_drives_it_if_it_is_an_input_with_a_clock(
    board: Board, setup: str, driven: bool | None, seen: str
) -> None:
    board.program(build(PIN.replace("@SETUP@", setup).replace("@READS@", "4")))
    board.pins["PC13"] = driven
    assert board.boot().uart == seen


@pytest.mark.parametrize("reads", [0, 3])
def test_a_pin_that_was_analog_until_now_reads_low_at_first(board: Board, reads: int) -> None:
    board.program(build(PIN.replace("@SETUP@", CLOCK + INPUT).replace("@READS@", str(reads))))
    board.pins["PC13"] = True
    assert board.boot().uart == "low"


@pytest.mark.parametrize("name", ["PC16", "PL0", "C13", ""])
def test_a_pin_that_does_not_exist_is_named(board: Board, name: str) -> None:
    with pytest.raises(PackagerError, match="no such pin"):
        board.pins[name] = True


def test_a_board_without_power_has_no_reset_button(board: Board) -> None:
    with pytest.raises(PackagerError, match="no program is running"):
        board.press_reset()
