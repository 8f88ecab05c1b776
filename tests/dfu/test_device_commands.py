from __future__ import annotations

import errno
import json
import sys
from pathlib import Path

import pytest
import usb.core
from dfu import products
from dfu.fake_usb import Bus, Plugged
from dfu.products import STAGING
from dfu.scripted import Rom

from packager.chip import CHIPS
from packager.cli import run
from packager.dfu import staging
from packager.dfu import usb as our_usb
from packager.sim.board import Board

UPDATE = products.update(1040)


@pytest.fixture
def update_path(tmp_path: Path) -> str:
    path = tmp_path / "pump.update.bin"
    path.write_bytes(UPDATE)
    return str(path)


@pytest.fixture
def board_path(tmp_path: Path) -> Path:
    path = tmp_path / "board"
    board = Board.new(CHIPS["stm32h743xi"])
    board.program({products.INFO_ADDRESS: products.info_bytes(), STAGING.start: b"old" * 200})
    board.save(path)
    return path


def plug(monkeypatch: pytest.MonkeyPatch, *devices: Plugged) -> None:
    monkeypatch.setattr(our_usb, "_default_backend", lambda: Bus(*devices))


def rom_with_loader(**script: object) -> Rom:
    rom = Rom(**script)  # type: ignore[arg-type]
    rom.put(products.INFO_ADDRESS, products.info_bytes())
    return rom


def test_drop_stages_the_update_on_a_virtual_board(
    update_path: str, board_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["drop", update_path, "--device", f"sim:{board_path}"]) == 0
    assert Board.load(board_path).read(STAGING.start, len(UPDATE)) == UPDATE
    out, err = capsys.readouterr()
    assert "pump-1.4.2.update staged and read back" in out
    assert "set BOOT0 low" in out
    assert "runs" not in out
    assert "write: 100 %" in err


def test_a_second_drop_says_that_it_was_staged_already(
    update_path: str, board_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert run(["drop", update_path, "--device", f"sim:{board_path}"]) == 0
    assert "was staged already" in capsys.readouterr().out


def test_a_dry_run_shows_the_steps_and_changes_nothing(
    update_path: str, board_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Board.load(board_path).read(STAGING.start, 4096)
    assert run(["drop", update_path, "--device", f"sim:{board_path}", "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "erase     0x08020000",
        "write     0x08020400 672 bytes",
        "read back 0x08020400 672 bytes",
        "write     0x08020000 1024 bytes",
        "read back 0x08020000 1024 bytes",
        "nothing was changed",
    ]
    assert Board.load(board_path).read(STAGING.start, 4096) == before


def test_leave_never_claims_that_the_app_runs(
    update_path: str, board_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["drop", update_path, "--device", f"sim:{board_path}", "--leave"]) == 0
    out = capsys.readouterr().out
    assert "told to restart; if it does not come back" in out
    assert "unplug the device, set BOOT0 low" in out


def test_what_an_interrupted_drop_did_is_kept_and_the_next_one_finishes_it(
    update_path: str, board_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = staging.run_plan

    def interrupted(*arguments: object) -> None:
        def stop(phase: str, done: int, total: int) -> None:
            if phase == "write":
                raise KeyboardInterrupt

        real(arguments[0], arguments[1], stop)  # type: ignore[arg-type]

    monkeypatch.setattr(staging, "run_plan", interrupted)
    assert run(["drop", update_path, "--device", f"sim:{board_path}"]) == 130
    board = Board.load(board_path)
    assert board.read(STAGING.start, 8) == b"\xff" * 8
    assert board.read(STAGING.start + 1024, 8) == UPDATE[1024:1032]
    monkeypatch.setattr(staging, "run_plan", real)
    assert run(["drop", update_path, "--device", f"sim:{board_path}"]) == 0


def test_an_unplugged_virtual_board_keeps_what_was_done(
    update_path: str,
    board_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    boot = Board.boot

    def boot_and_trip(self: Board, **options: object) -> object:
        report = boot(self, **options)  # type: ignore[arg-type]
        assert self.rom
        self.rom.unplug_at = 48
        return report

    monkeypatch.setattr(Board, "boot", boot_and_trip)
    assert run(["drop", update_path, "--device", f"sim:{board_path}"]) == 10
    assert "left the bus" in capsys.readouterr().err
    assert Board.load(board_path).read(STAGING.start, 8) == b"\xff" * 8


def test_status_is_one_value_a_line(board_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--device", f"sim:{board_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "rom.name: V9.0" in lines
    assert "loader.product_name: Pump" in lines
    assert "loader.development: no" in lines
    assert "staging: other" in lines
    assert "installed: none" in lines
    assert "records.free: 1024" in lines


def test_status_as_json(board_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--device", f"sim:{board_path}", "--json"]) == 0
    begin, told, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert begin["type"] == "task_begin"
    assert told["type"] == "info"
    assert told["data"]["status"]["loader"]["product_id"] == "pump"
    assert (end["type"], end["data"]["exit_code"]) == ("task_end", 0)


def test_status_of_a_protected_device_explains_without_failing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plug(monkeypatch, Plugged(rom_with_loader(protected=True), 1))
    assert run(["status"]) == 0
    out = capsys.readouterr().out
    assert "read_protected: yes" in out
    assert "do NOT let any tool disable the protection" in out


DENIED = usb.core.USBError("Access denied", -3, errno.EACCES)


@pytest.mark.parametrize(
    ("devices", "code", "text"),
    [
        ([], 11, "no device in DFU mode found"),
        (
            [Plugged(Rom(), 1), Plugged(Rom(), 2)],
            12,
            "2 devices in DFU mode: usb:1-1: no splitflash loader",
        ),
        ([Plugged(Rom(), 1, open_error=DENIED)], 13, "no permission for the device"),
        ([Plugged(rom_with_loader(protected=True), 1)], 14, "read-protected"),
        (
            [Plugged(rom_with_loader(write_protected={STAGING.start}), 1)],
            15,
            "the device reports success, but the sector is not blank",
        ),
        ([Plugged(rom_with_loader(mute_after=50), 1)], 16, "no answer to "),
        ([Plugged(rom_with_loader(unplug_at=50), 1)], 10, "the device left the bus"),
        ([Plugged(Rom(), 1)], 8, "no splitflash loader"),
    ],
)
def test_every_failure_is_one_line_and_its_exit_code(
    devices: list[Plugged],
    code: int,
    text: str,
    update_path: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for device in devices:
        device.rom.put(STAGING.start, b"old" * 200)
        device.rom.announced_poll_ms = 0
    plug(monkeypatch, *devices)
    assert run(["drop", update_path]) == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("splitflash: ")
    assert text in last


@pytest.mark.parametrize("device", ["1-2", "sim:", "com3", "usb:"])
def test_a_device_that_is_none_is_wrong_usage(device: str, update_path: str) -> None:
    assert run(["drop", update_path, "--device", device]) == 2


def test_a_missing_board_is_an_error_of_ours(tmp_path: Path, update_path: str) -> None:
    assert run(["drop", update_path, "--device", f"sim:{tmp_path / 'nothing'}"]) in (1, 4)


def test_a_missing_simulator_says_what_to_install(
    board_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "packager.sim.board", None)
    assert run(["status", "--device", f"sim:{board_path}"]) == 1
    assert "run: pip install 'splitflash[sim]'" in capsys.readouterr().err
