"""``drop`` to several devices at once: each on its own, summed up, stopped together."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from dfu import products, street
from dfu.products import STAGING

from packager.chip import BOOT_ADDRESS
from packager.cli import run
from packager.dfu import several, staging
from packager.dfu.constants import State
from packager.sim.board import Board

UPDATE = products.whole_update()
Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "pump.update.bin"
    path.write_bytes(UPDATE)
    return str(path)


def holds(board: Board) -> bool:
    return board.read(STAGING.start, len(UPDATE)) == UPDATE


def test_all_brings_the_update_into_every_device(
    file: str, monkeypatch: Patch, capsys: Captured
) -> None:
    boards = [street.board(rom_id) for rom_id in (0x90, 0x92, 0xD2)]
    street.plug_in(monkeypatch, *boards)
    assert run(["drop", file, "--all"]) == 0
    assert all(holds(board) for board in boards)
    out, err = capsys.readouterr()
    assert "3 of 3 devices hold the update" in out
    for place in ("usb:1-1", "usb:1-2", "usb:1-3"):
        assert f"{place}: pump-1.4.2.update staged and read back" in out
        assert f"{place}: write: 100 %" in err


def test_virtual_boards_named_one_by_one_are_dropped_to_at_once(
    file: str, tmp_path: Path, capsys: Captured
) -> None:
    names = street.saved(tmp_path, street.board(0x90), street.board(0x91))
    assert run(["drop", file, "--device", names[0], "--device", names[1]]) == 0
    assert all(holds(Board.load(name.removeprefix("sim:"))) for name in names)
    assert "2 of 2 devices hold the update" in capsys.readouterr().out


def test_one_that_fails_does_not_stop_the_others_and_the_exit_code_tells(
    file: str, monkeypatch: Patch, capsys: Captured
) -> None:
    boards = [street.board(), street.board(rdp=0x55), street.board()]
    street.plug_in(monkeypatch, *boards)
    assert run(["drop", file, "--all"]) == 17
    assert [holds(board) for board in boards] == [True, False, True]
    out, err = capsys.readouterr()
    assert "failed: usb:1-2: read at 0x08000400: this device is read-protected" in out
    assert "do NOT let any tool disable the protection" in out
    assert "2 of 3 devices hold the update" in out
    assert "1 of 3 devices failed: usb:1-2 (exit code 14)" in err.splitlines()[-1]


def test_dropping_to_all_again_writes_only_where_it_failed(file: str, monkeypatch: Patch) -> None:
    boards = [street.board(), street.board()]
    boards[1].flash.faults.erase_errors[STAGING.start] = 1
    street.plug_in(monkeypatch, *boards)
    assert run(["drop", file, "--all"]) == 17
    done = len(boards[0].flash.operations)
    assert run(["drop", file, "--all"]) == 0
    assert len(boards[0].flash.operations) == done
    assert holds(boards[1])


def test_all_with_a_single_device_ends_with_its_own_exit_code(
    file: str, monkeypatch: Patch
) -> None:
    street.plug_in(monkeypatch, street.board(rdp=0x55))
    assert run(["drop", file, "--all"]) == 14


def test_all_together_with_a_device_is_wrong_usage(file: str) -> None:
    assert run(["drop", file, "--all", "--device", "usb:1-1"]) == 2


def test_all_goes_before_a_device_in_the_environment(file: str, monkeypatch: Patch) -> None:
    boards = [street.board(), street.board()]
    street.plug_in(monkeypatch, *boards)
    monkeypatch.setenv("SPLITFLASH_DEVICE", "usb:1-1")
    assert run(["drop", file, "--all"]) == 0
    assert all(holds(board) for board in boards)


def test_the_environment_may_name_several_devices(
    file: str, tmp_path: Path, monkeypatch: Patch
) -> None:
    names = street.saved(tmp_path, street.board(), street.board())
    monkeypatch.setenv("SPLITFLASH_DEVICE", ",".join(names))
    assert run(["drop", file]) == 0
    assert all(holds(Board.load(name.removeprefix("sim:"))) for name in names)


def test_a_dry_run_shows_every_plan_and_changes_nothing(
    file: str, monkeypatch: Patch, capsys: Captured
) -> None:
    boards = [street.board(), street.board()]
    street.plug_in(monkeypatch, *boards)
    assert run(["drop", file, "--all", "--dry-run"]) == 0
    assert capsys.readouterr().out.count("nothing was changed") == 2
    assert not any(board.flash.operations for board in boards)


def test_every_device_is_told_to_restart_and_nobody_claims_that_it_did(
    file: str, monkeypatch: Patch, capsys: Captured
) -> None:
    boards = [street.board(), street.board()]
    street.plug_in(monkeypatch, *boards)
    roms = [board.rom for board in boards]
    assert run(["drop", file, "--all", "--leave"]) == 0
    assert [rom.left_to for rom in roms if rom] == [BOOT_ADDRESS, BOOT_ADDRESS]
    assert "was told to restart; if it does not come back:" in capsys.readouterr().out


def test_on_a_terminal_each_device_has_a_bar_that_ends(
    file: str, monkeypatch: Patch, capsys: Captured
) -> None:
    street.plug_in(monkeypatch, street.board(), street.board(rdp=0x55))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    assert run(["drop", file, "--all"]) == 17
    err = capsys.readouterr().err
    assert "usb:1-1      done" in err
    assert "usb:1-2    failed" in err


def test_ctrl_c_stops_every_device_where_the_next_drop_goes_on(
    file: str, monkeypatch: Patch, capsys: Captured
) -> None:
    boards = [street.board(), street.board()]
    street.plug_in(monkeypatch, *boards)
    both_write, stopped, begun = threading.Barrier(3), threading.Event(), set[int]()
    write, ask = staging.DfuSe.write_blocks, several.Stop.ask

    def held_up(self: staging.DfuSe, address: int, data: bytes, count: object = None) -> None:
        if id(self) not in begun:
            begun.add(id(self))
            both_write.wait(timeout=20)
            stopped.wait(timeout=5)
        write(self, address, data, count)  # type: ignore[arg-type]

    def interrupted(pending: object, timeout: float) -> None:
        both_write.wait(timeout=20)
        raise KeyboardInterrupt

    def asked(self: several.Stop) -> None:
        ask(self)
        stopped.set()

    with monkeypatch.context() as patch:
        patch.setattr(staging.DfuSe, "write_blocks", held_up)
        patch.setattr(several.Stop, "ask", asked)
        patch.setattr(several, "wait", interrupted)
        assert run(["drop", file, "--all"]) == 130
    for board in boards:
        assert board.rom
        assert board.rom._state is State.DFU_IDLE
        assert not holds(board)
        assert board.read(STAGING.start, 8) == b"\xff" * 8
    assert run(["drop", file, "--all"]) == 0
    assert all(holds(board) for board in boards)


def unsavable(folder: Path, board: Board) -> str:
    """Keep a board under a name that leaves no room for that of a temporary file beside it."""
    path = folder / ("b" * 250)
    board.save(folder / "short")
    (folder / "short").rename(path)
    return f"sim:{path}"


def test_a_board_that_cannot_be_saved_does_not_stop_the_others(
    file: str, tmp_path: Path, capsys: Captured
) -> None:
    names = [*street.saved(tmp_path, street.board()), unsavable(tmp_path, street.board())]
    assert run(["drop", file, "--device", names[1], "--device", names[0]]) == 17
    out, err = capsys.readouterr()
    assert f"failed: {names[1]}" in out
    assert "cannot be written (File name too long)" in out
    assert "1 of 2 devices hold the update" in out
    assert "(exit code 1)" in err.splitlines()[-1]
    assert holds(Board.load(Path(names[0].removeprefix("sim:"))))


def test_doctor_does_not_call_a_board_healthy_that_cannot_be_saved(
    tmp_path: Path, capsys: Captured
) -> None:
    assert run(["doctor", "--device", unsavable(tmp_path, street.board())]) == 1
    assert "cannot be written" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device", "x.sim"), "b: x.sim: No space left on device"),
        (ZeroDivisionError("planted"), "b: ZeroDivisionError: planted; report this"),
    ],
    ids=["of the system", "of our own"],
)
def test_whatever_is_raised_for_one_device_is_a_failure_of_that_device_only(
    error: Exception, text: str
) -> None:
    def work(name: str, stop: several.Stop) -> str:
        if name == "b":
            raise error
        return f"{name} is done"

    outcomes = several.on_each(["a", "b", "c"], work)
    assert list(outcomes) == ["a", "b", "c"]
    assert (outcomes["a"], outcomes["c"]) == ("a is done", "c is done")
    assert str(outcomes["b"]).startswith(text)


def test_every_line_of_a_dry_run_of_several_names_its_device(
    file: str, monkeypatch: Patch, capsys: Captured
) -> None:
    street.plug_in(monkeypatch, street.board(), street.board())
    assert run(["drop", file, "--all", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(": ")[0] for line in lines} == {"usb:1-1", "usb:1-2"}
    assert "usb:1-2: erase     0x08020000" in lines
