"""Ctrl-C while the virtual core runs: it ends the run, is never lost, and costs no flash word."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from sim.firmware import APP, WRITER, build

from packager.chip import CHIPS
from packager.cli import run
from packager.sim.board import Board, Outcome
from packager.sim.cpu import Core
from packager.sim.operations import FlashOp

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent another way there")
FOR_EVER = 1e9
"""Virtual seconds: none of these programs ends before."""
PROGRAMS = {
    "computes": "void main(void) { for (volatile uint32_t n = 0;; n++) {} }",
    "writes registers": "void main(void) { for (uint32_t n = 0;; n++) { IWDG_KR = n & 1u; } }",
    "prints": 'void main(void) { for (;;) { print("still here\\n"); } }',
    "reads flash": "void main(void) { for (uint32_t n = 0;; n += 4u)"
    " { REG(0x20010000u) = REG(0x08100000u + (n & 0xFFFFCu)); } }",
}


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def board() -> Board:
    """A board whose loader-to-be writes flash, then starts an application."""
    new = Board.new(CHIPS["stm32h743xi"])
    new.program(build(WRITER) | build(APP, at=0x0810_0000))
    return new


def pressed_while_it_runs(monkeypatch: pytest.MonkeyPatch, delay: float) -> None:
    """Press Ctrl-C a while after the core has begun to run."""
    emulate = Core.emulate
    timers: list[threading.Timer] = []

    def begin(self: Core) -> None:
        if not timers:
            timers.append(threading.Timer(delay, press))
            timers[0].start()
        emulate(self)

    monkeypatch.setattr(Core, "emulate", begin)


@pytest.mark.parametrize("delay", [0, 0.03, 0.2])
@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_ends_a_boot_with_one_line_and_130(
    program: str,
    delay: float,
    board: Board,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "b.sim"
    board.program(build(PROGRAMS[program]))
    board.save(path)
    pressed_while_it_runs(monkeypatch, delay)
    assert run(["sim", "boot", str(path), "--for", str(FOR_EVER)]) == 130
    out, err = capfd.readouterr()
    assert (out, err.lstrip("\n")) == ("", "splitflash: interrupted\n")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert Board.load(path).snapshot() == board.snapshot()


@pytest.mark.parametrize("operation", range(1, 10))
def test_ctrl_c_at_a_flash_operation_is_as_if_the_plug_were_pulled(
    operation: int, board: Board
) -> None:
    start = board.snapshot()

    def at(op: FlashOp, _: Board) -> None:
        if op.index == operation:
            press()

    with pytest.raises(KeyboardInterrupt):
        board.boot(on_operation=at)
    assert len(board.flash.operations) <= operation + 1
    board.power_off()
    assert board.boot().outcome is Outcome.APP_RUNS
    assert all(op.virgin for op in board.flash.operations)
    board.restore(start)
    assert board.boot().outcome is Outcome.APP_RUNS


def test_ctrl_c_just_before_the_emulator_begins_is_not_lost(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.program(build(PROGRAMS["prints"]))
    emulate = Core.emulate

    def begin(self: Core) -> None:
        start = self.uc.emu_start

        def late(*arguments: int) -> None:
            press()
            start(*arguments)

        monkeypatch.setattr(self.uc, "emu_start", late)
        emulate(self)

    monkeypatch.setattr(Core, "emulate", begin)
    with pytest.raises(KeyboardInterrupt):
        board.boot(limit_seconds=FOR_EVER)


def test_who_handles_ctrl_c_himself_goes_on_doing_so(board: Board) -> None:
    heard: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        report = board.boot(on_operation=lambda op, _: press() if op.index == 3 else None)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert heard == [signal.SIGINT]
    assert report.outcome is Outcome.APP_RUNS


def test_a_core_in_another_thread_leaves_ctrl_c_alone(board: Board) -> None:
    handlers = set[object]()
    thread = threading.Thread(
        target=board.boot,
        kwargs={"on_operation": lambda *_: handlers.add(signal.getsignal(signal.SIGINT))},
    )
    thread.start()
    thread.join()
    assert handlers == {signal.default_int_handler}
