"""``splitflash doctor``: a check for everything between a customer and an update."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import usb.core
from dfu import products, street
from dfu.fake_usb import Bus, Plugged
from dfu.products import STAGING
from dfu.scripted import Rom

from packager.cli import run
from packager.dfu import doctor
from packager.dfu import usb as our_usb
from packager.dfu.advice import UDEV_FILE, UDEV_RULE
from packager.reasons import Reason
from packager.records import AppState, RecordType
from packager.sim.board import Board

Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


def checks(capsys: Captured) -> dict[str, dict[str, Any]]:
    """The checks of a --json run, by name."""
    found = street.lines(capsys.readouterr().out)
    told = [line["data"]["check"] for line in found if line["type"] == "info"]
    return {check["name"]: check for check in told}


def plug(monkeypatch: Patch, *devices: Plugged) -> None:
    monkeypatch.setattr(our_usb, "_default_backend", lambda: Bus(*devices))


def examined(board: Board, monkeypatch: Patch, capsys: Captured) -> dict[str, dict[str, Any]]:
    street.plug_in(monkeypatch, board)
    run(["doctor", "--json"])
    return checks(capsys)


# -- the computer ---------------------------------------------------------------------------------


def test_a_healthy_device_has_no_problem_and_ends_with_0(
    monkeypatch: Patch, capsys: Captured
) -> None:
    street.plug_in(monkeypatch, street.board(0x90))
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "problem" not in out
    names = ["libusb", "rights", "devices"]
    device = ["access", "bootloader", "read protection", "write protection", "loader"]
    held = ["staging", "installed", "last refusal"]
    for name in [*names, *(f"usb:1-1 {name}" for name in (*device, *held))]:
        assert f" {name}: " in out


def test_a_missing_libusb_says_how_to_get_it(monkeypatch: Patch, capsys: Captured) -> None:
    def missing() -> None:
        raise usb.core.NoBackendError

    monkeypatch.setattr(our_usb, "_default_backend", missing)
    assert run(["doctor", "--json"]) == 13
    found = checks(capsys)
    assert found["libusb"]["verdict"] == "problem"
    assert "pip install libusb-package" in found["libusb"]["do"]
    assert found["devices"]["verdict"] == "not known"


def test_no_device_tells_of_boot0_cable_and_reset(monkeypatch: Patch, capsys: Captured) -> None:
    plug(monkeypatch)
    assert run(["doctor", "--json"]) == 11
    devices = checks(capsys)["devices"]
    assert devices["verdict"] == "problem"
    for word in ("BOOT0", "cable", "reset", "hub", "at RDP level 2 that is the only way"):
        assert word in devices["do"]


def plug_other(monkeypatch: Patch, vendor: int, product: int, protocol: int) -> None:
    """Plug in something that is no device in DFU mode."""
    backend = Bus(Plugged(Rom(), 3, protocol=protocol))
    descriptor = backend.get_device_descriptor

    def other(device: Plugged) -> Any:
        found = descriptor(device)
        found.idVendor, found.idProduct = vendor, product
        return found

    monkeypatch.setattr(backend, "get_device_descriptor", other)
    monkeypatch.setattr(our_usb, "_default_backend", lambda: backend)


@pytest.mark.parametrize(
    ("ids", "protocol", "text"),
    [
        ((0x0483, 0x374B), 0, "usb:1-3 ST-LINK (a debug probe)"),
        ((0x0483, 0x5740), 0, "usb:1-3 0483:5740"),
        ((0x1234, 0x0001), 1, "usb:1-3 1234:0001 (its application runs: set BOOT0 high"),
    ],
)
def test_what_is_no_device_in_dfu_mode_is_named_for_what_it_is(
    ids: tuple[int, int], protocol: int, text: str, monkeypatch: Patch, capsys: Captured
) -> None:
    plug_other(monkeypatch, *ids, protocol)
    assert run(["doctor", "--json"]) == 11
    assert text in checks(capsys)["devices"]["found"]


def test_a_mouse_is_not_named(monkeypatch: Patch, capsys: Captured) -> None:
    plug_other(monkeypatch, 0x046D, 0xC077, 0)
    assert run(["doctor", "--json"]) == 11
    assert "usb:1-3" not in checks(capsys)["devices"]["found"]


def test_a_missing_permission_prints_rule_file_and_command(
    monkeypatch: Patch, capsys: Captured
) -> None:
    denied = usb.core.USBError("Access denied", -3, errno.EACCES)
    plug(monkeypatch, Plugged(Rom(), 1, open_error=denied))
    assert run(["doctor", "--json"]) == 13
    access = checks(capsys)["access"]
    assert access["verdict"] == "problem"
    for part in (UDEV_RULE, UDEV_FILE, "udevadm control --reload", "plug the device in again"):
        assert part in access["do"]


def test_the_rule_is_sorted_before_the_one_that_gives_access() -> None:
    assert Path(UDEV_FILE).name < "73-seat-late.rules"


def test_a_missing_driver_prints_how_to_install_it(monkeypatch: Patch, capsys: Captured) -> None:
    plug(monkeypatch, Plugged(Rom(), 1, open_error=NotImplementedError()))
    assert run(["doctor", "--json"]) == 13
    do = checks(capsys)["access"]["do"]
    assert "pnputil /add-driver STM32Bootloader.inf /install" in do
    assert "STTub30" in do


def test_another_program_that_holds_the_device_is_named(
    monkeypatch: Patch, capsys: Captured
) -> None:
    busy = usb.core.USBError("Resource busy", -6, errno.EBUSY)
    plug(monkeypatch, Plugged(Rom(), 1, open_error=busy))
    assert run(["doctor", "--json"]) == 13
    assert "close STM32CubeProgrammer" in checks(capsys)["access"]["do"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (UDEV_RULE, True),
        ('ATTRS{idVendor}=="0483", ATTRS{idProduct}=="DF11", MODE="0666"', True),
        ('ATTRS{idVendor}=="0483", ATTRS{idProduct}=="374b", MODE="0666"', False),
    ],
)
def test_a_udev_rule_is_found_by_what_it_says(text: str, found: bool, tmp_path: Path) -> None:
    (tmp_path / "60-any.rules").write_text(text + "\n")
    assert (doctor._udev_rule([str(tmp_path)]) is not None) is found


def test_without_a_rule_the_rights_are_not_known(monkeypatch: Patch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(doctor, "RULE_FOLDERS", ())
    check = doctor._rights("linux")
    assert check.verdict is doctor.Verdict.UNKNOWN
    assert UDEV_RULE in check.do


@pytest.mark.parametrize("system", ["win32", "darwin"])
def test_systems_without_udev_are_not_told_of_it(system: str) -> None:
    check = doctor._rights(system)
    assert check.verdict is doctor.Verdict.OK
    assert "udev" not in check.found


# -- a device -------------------------------------------------------------------------------------


def test_the_rom_is_named_with_what_is_known_of_it(monkeypatch: Patch, capsys: Captured) -> None:
    found = examined(street.board(0x90), monkeypatch, capsys)["bootloader"]["found"]
    assert found.startswith("ROM V9.0 (id 0x90): stays busy for ever after an erase in bank 2")


def test_an_unprotected_device_is_told_what_that_means_in_the_words_of_pack(
    monkeypatch: Patch, capsys: Captured
) -> None:
    found = examined(street.board(), monkeypatch, capsys)["read protection"]["found"]
    assert "protected only against someone who has the file and no device" in found


def test_a_protected_device_is_a_problem_whose_cure_is_not_to_unprotect(
    monkeypatch: Patch, capsys: Captured
) -> None:
    street.plug_in(monkeypatch, street.board(rdp=0x55))
    assert run(["doctor", "--json"]) == 14
    check = checks(capsys)["read protection"]
    assert check["verdict"] == "problem"
    assert check["do"].startswith("do NOT let any tool disable the protection")


def test_write_protection_is_honestly_not_known(monkeypatch: Patch, capsys: Captured) -> None:
    found = examined(street.board(), monkeypatch, capsys)["write protection"]
    assert found["verdict"] == "not known"


def test_a_device_without_a_loader_is_a_problem(monkeypatch: Patch, capsys: Captured) -> None:
    plug(monkeypatch, Plugged(Rom(), 1))
    assert run(["doctor", "--json"]) == 8
    assert "factory image" in checks(capsys)["loader"]["do"]


def test_a_waiting_update_is_told_with_how_to_get_it_installed(
    tmp_path: Path, capsys: Captured
) -> None:
    (name,) = street.saved(tmp_path, street.board())
    file = tmp_path / "u.bin"
    file.write_bytes(products.whole_update())
    assert run(["drop", str(file), "--device", name]) == 0
    capsys.readouterr()
    assert run(["doctor", "--device", name, "--json"]) == 0
    staging = checks(capsys)["staging"]
    assert "update to version 1.4.2" in staging["found"]
    assert "set BOOT0 low" in staging["do"]


def test_the_last_refusal_is_told_with_its_reason_and_what_to_do(
    monkeypatch: Patch, capsys: Captured
) -> None:
    board = street.board()
    refused = {"reason": Reason.COUNTER_TOO_OLD, "refused_version": 0x01030000, "refused_run": 1}
    record = products.record(type=RecordType.REFUSED, refused_key_id=b"signer-1", **refused)
    board.program({products.MARKS.start: record})
    street.plug_in(monkeypatch, board)
    assert run(["doctor", "--json"]) == 8
    refusal = checks(capsys)["last refusal"]
    assert "version 1.3.0" in refusal["found"]
    assert "below the floor" in refusal["found"]
    assert refusal["do"]


def test_an_installation_that_did_not_end_is_told(monkeypatch: Patch, capsys: Captured) -> None:
    board = street.board()
    record = products.record(type=RecordType.INSTALLING, state=AppState.INSTALLING, image_crc=0)
    board.program({products.MARKS.start: record})
    street.plug_in(monkeypatch, board)
    assert run(["doctor", "--json"]) == 10
    assert "has begun and not ended" in checks(capsys)["installed"]["found"]


def test_several_devices_are_all_looked_at(monkeypatch: Patch, capsys: Captured) -> None:
    street.plug_in(monkeypatch, street.board(), street.board(rdp=0x55))
    assert run(["doctor"]) == 14
    out = capsys.readouterr().out
    assert "ok        usb:1-1 read protection" in out
    assert "problem   usb:1-2 read protection" in out


def test_nothing_is_changed_on_a_device(monkeypatch: Patch) -> None:
    board = street.board()
    street.plug_in(monkeypatch, board)
    assert run(["doctor"]) == 0
    assert board.flash.operations == []


@pytest.mark.parametrize("transfer", range(1, 38))
def test_a_device_that_leaves_at_any_moment_ends_in_a_check_not_in_a_traceback(
    transfer: int, monkeypatch: Patch, capsys: Captured
) -> None:
    board = street.board()
    street.plug_in(monkeypatch, board)
    assert board.rom
    board.rom.unplug_at = transfer
    code = run(["doctor"])
    out, err = capsys.readouterr()
    assert code in (10, 11)
    assert "Traceback" not in out + err
    assert "problem" in out


@pytest.mark.parametrize("stage", ["find_devices", "libusb_version", "find_others"])
def test_a_fault_of_our_own_is_not_known_and_the_other_checks_go_on(
    stage: str, monkeypatch: Patch, capsys: Captured
) -> None:
    def fault(*_: object) -> None:
        raise ZeroDivisionError("planted")

    plug(monkeypatch)
    monkeypatch.setattr(doctor, stage, fault)
    assert run(["doctor"]) in (0, 11)
    out = capsys.readouterr().out
    assert "not known" in out
    assert "ZeroDivisionError: planted" in out


# -- the report -----------------------------------------------------------------------------------


def test_the_report_holds_every_check_and_status_and_no_secret(
    monkeypatch: Patch, tmp_path: Path
) -> None:
    board = street.board()
    secret = b"\x5a\xc3" * 16
    board.program(
        {
            products.INFO_ADDRESS: products.info_bytes(),
            0x08010000: secret,
            STAGING.start: products.whole_update(),
        }
    )
    street.plug_in(monkeypatch, board)
    path = tmp_path / "report.json"
    assert run(["doctor", "--report", str(path)]) == 0
    text = path.read_text()
    report = json.loads(text)
    assert {"splitflash", "python", "system", "libraries", "checks", "devices"} == set(report)
    assert report["devices"][0]["loader"]["product_id"] == "pump"
    assert secret.hex() not in text
    assert board.uid.hex() not in text
    assert str(Path.home()) not in text
    assert products.whole_update()[700:732].hex() not in text


def test_a_report_that_cannot_be_written_is_an_error_of_ours(
    monkeypatch: Patch, tmp_path: Path, capsys: Captured
) -> None:
    street.plug_in(monkeypatch, street.board())
    assert run(["doctor", "--report", str(tmp_path / "none" / "report.json")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_the_help_says_what_the_exit_code_means(capsys: Captured) -> None:
    run(["doctor", "--help"])
    assert "exit code is 0 without a problem" in " ".join(capsys.readouterr().out.split())
