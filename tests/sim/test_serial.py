"""What a program is sent over a serial line."""

from __future__ import annotations

import pytest
from sim.firmware import build

from packager.chip import CHIPS
from packager.sim.board import Board

ECHO = """
#define ISR REG(0x4001101Cu)
void main(void) {
    REG(0x40011000u) = 0xDu; /* UE, RE, TE */
    for (;;) {
        while (!(ISR & 1u << 5)) { if (ISR & 1u << 3) { print("lost"); for (;;) {} } }
        uint32_t byte = REG(0x40011024u) & 0xFFu;
        @WORK@
        REG(0x40011028u) = byte;
        if (byte == '.') { for (;;) {} }
    }
}
"""


@pytest.fixture
def board() -> Board:
    board = Board.new(CHIPS["stm32h743xi"])
    board.program(build(ECHO.replace("@WORK@", "")))
    return board


def test_bytes_come_as_fast_as_they_are_read(board: Board) -> None:
    board.send_serial(b"hello, board.")
    assert board.boot(limit_seconds=2.0).uart == "hello, board."


def test_bytes_at_a_pace_take_their_time(board: Board) -> None:
    board.send_serial(b"0123456789" * 10 + b".", bytes_per_second=1000.0)
    report = board.boot(limit_seconds=2.0)
    assert report.uart == "0123456789" * 10 + "."
    assert report.seconds["cpu"] == pytest.approx(0.1, rel=0.1)


def test_bytes_that_are_not_read_in_time_are_lost() -> None:
    board = Board.new(CHIPS["stm32h743xi"])
    work = "if (byte == '0') { unlock(1); erase(1, 0); }"
    board.program(build(ECHO.replace("@WORK@", work)))
    board.send_serial(b"0123456789", bytes_per_second=1000.0)
    assert board.boot(limit_seconds=5.0).uart == "01lost"


def test_the_other_end_can_answer(board: Board) -> None:
    answers = {ord("a"): b"b", ord("b"): b"c", ord("c"): b"."}
    board.on_serial(lambda byte: board.send_serial(answers.get(byte, b"")))
    board.send_serial(b"a")
    assert board.boot(limit_seconds=2.0).uart == "abc."


def test_nothing_comes_before_the_receiver_is_on() -> None:
    board = Board.new(CHIPS["stm32h743xi"])
    board.program(build('void main(void) { print(REG(0x4001101Cu) & 32u ? "rx" : "none"); }'))
    board.send_serial(b"x")
    assert board.boot().uart == "none"
