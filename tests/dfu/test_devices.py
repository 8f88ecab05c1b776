"""``splitflash devices``: everything on the bus, and no guessing."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
import usb.core
from dfu import products, street
from dfu.fake_usb import Bus, Plugged
from dfu.scripted import Rom

from packager.cli import run
from packager.dfu import usb as our_usb

Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def test_each_device_is_a_line_with_place_product_versions_and_protection(
    monkeypatch: Patch, capsys: Captured
) -> None:
    street.plug_in(
        monkeypatch, street.board(0x90), street.board(0x92, rdp=0x55), street.board(name=b"Valve")
    )
    assert run(["devices"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "usb:1-1: Pump, loader 1.0.0, ROM V9.0, not read-protected",
        "usb:1-2: read-protected, ROM unknown",
        "usb:1-3: Valve, loader 1.0.0, ROM V9.2, not read-protected",
    ]


def test_a_device_without_a_loader_or_with_one_for_development_is_told_apart(
    monkeypatch: Patch, capsys: Captured
) -> None:
    development = Rom()
    development.put(products.INFO_ADDRESS, products.info_bytes(flags=1))
    bus = Bus(Plugged(Rom(), 1), Plugged(development, 2))
    monkeypatch.setattr(our_usb, "_default_backend", lambda: bus)
    assert run(["devices"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "usb:1-1: no splitflash loader, ROM V9.2, not read-protected"
    assert "Pump, development loader 1.0.0" in second


def test_nothing_on_the_bus_is_exit_code_11(monkeypatch: Patch, capsys: Captured) -> None:
    monkeypatch.setattr(our_usb, "_default_backend", Bus)
    assert run(["devices"]) == 11
    assert "set BOOT0 high" in capsys.readouterr().err


def test_a_device_that_cannot_be_opened_is_listed_and_gives_its_exit_code(
    monkeypatch: Patch, capsys: Captured
) -> None:
    denied = usb.core.USBError("Access denied", -3, errno.EACCES)
    bus = Bus(Plugged(Rom(), 1, open_error=denied), Plugged(Rom(), 2))
    monkeypatch.setattr(our_usb, "_default_backend", lambda: bus)
    assert run(["devices"]) == 13
    first, second = capsys.readouterr().out.splitlines()
    assert first == "usb:1-1: cannot be asked: no permission for the device"
    assert second.startswith("usb:1-2: no splitflash loader")


def test_virtual_boards_are_listed_by_name(tmp_path: Path, capsys: Captured) -> None:
    names = street.saved(tmp_path, street.board(0x90), street.board(0x91))
    assert run(["devices", "--device", names[0], "--device", names[1]]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in out] == names


def test_listing_changes_nothing(tmp_path: Path) -> None:
    board = street.board()
    (name,) = street.saved(tmp_path, board)
    path = Path(name.removeprefix("sim:"))
    before = path.read_bytes()
    assert run(["devices", "--device", name]) == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("command", ["drop", "status"])
def test_with_several_devices_no_command_guesses_and_the_message_lists_them(
    command: str, monkeypatch: Patch, capsys: Captured, tmp_path: Path
) -> None:
    file = tmp_path / "u.bin"
    file.write_bytes(products.whole_update())
    boards = street.board(0x90), street.board(name=b"Valve")
    street.plug_in(monkeypatch, *boards)
    assert run([command, *([str(file)] if command == "drop" else [])]) == 12
    err = capsys.readouterr().err
    assert "usb:1-1: Pump, loader 1.0.0, ROM V9.0" in err
    assert "usb:1-2: Valve, loader 1.0.0, ROM V9.2" in err
    assert "choose one, for example --device usb:1-1" in err
    assert not any(board.flash.operations for board in boards)


@pytest.mark.parametrize(
    ("left", "code", "text"), [(0, 11, "no device in DFU mode found"), (1, 0, "usb:1-1")]
)
def test_devices_that_are_unplugged_before_they_are_listed_are_not_missed_by_a_traceback(
    left: int, code: int, text: str, monkeypatch: Patch, capsys: Captured
) -> None:
    class Fleeting(Bus):
        def enumerate_devices(self) -> Iterator[Plugged]:
            yield from self.devices
            self.devices = self.devices[:left]

    bus = Fleeting(Plugged(Rom(), 1), Plugged(Rom(), 2))
    monkeypatch.setattr(our_usb, "_default_backend", lambda: bus)
    assert run(["status"]) == code
    assert text in "".join(capsys.readouterr())


def test_the_help_says_that_a_virtual_board_is_powered_on(capsys: Captured) -> None:
    for command in ("devices", "doctor"):
        assert run([command, "--help"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "powers it on: a loader that is started installs what is staged" in said


def test_devices_as_json_lines(monkeypatch: Patch, capsys: Captured) -> None:
    street.plug_in(monkeypatch, street.board(0x90), street.board(rdp=0x55))
    assert run(["devices", "--json"]) == 0
    begin, first, second, end = street.lines(capsys.readouterr().out)
    assert (begin["type"], end["type"]) == ("task_begin", "task_end")
    assert first["data"]["identity"] == {
        "device": "usb:1-1",
        "product_id": "pump",
        "product_name": "Pump",
        "loader": "1.0.0",
        "bootloader": "ROM",
        "rom": "V9.0",
        "read_protected": False,
        "error": None,
    }
    assert second["data"]["identity"]["read_protected"] is True
