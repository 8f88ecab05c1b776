"""``--json``: what a program that calls splitflash can rely on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dfu import products, street
from dfu.fake_usb import Bus

from packager.cli import run
from packager.dfu import usb as our_usb

Captured = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "pump.update.bin"
    path.write_bytes(products.whole_update())
    return str(path)


def told(capsys: Captured) -> list[dict[str, Any]]:
    return street.lines(capsys.readouterr().out)


def commands(file: str) -> list[list[str]]:
    return [["drop", file], ["status"], ["devices"], ["doctor"]]


@pytest.mark.parametrize("number", range(4))
def test_every_line_is_an_object_of_a_known_type_with_task_and_device(
    number: int, file: str, monkeypatch: Patch, capsys: Captured
) -> None:
    street.plug_in(monkeypatch, street.board())
    command = commands(file)[number]
    assert run([*command, "--json"]) == 0
    lines = told(capsys)
    types = {"task_begin", "task_progress", "task_end", "info", "log"}
    for line in lines:
        assert set(line) == {"type", "data"}
        assert line["type"] in types
        assert line["data"]["task"] == command[0]
        assert "device" in line["data"]
    assert lines[0]["type"] == "task_begin"
    end = lines[-1]
    assert end["type"] == "task_end"
    assert (end["data"]["device"], end["data"]["exit_code"]) == (None, 0)
    assert end["data"]["result"] == "success"


@pytest.mark.parametrize("number", range(4))
def test_a_failure_is_an_object_with_its_exit_code_and_a_line_on_stderr(
    number: int, file: str, monkeypatch: Patch, capsys: Captured
) -> None:
    monkeypatch.setattr(our_usb, "_default_backend", Bus)
    command = commands(file)[number]
    assert run([*command, "--json"]) == 11
    out, err = capsys.readouterr()
    end = street.lines(out)[-1]["data"]
    assert (end["result"], end["exit_code"]) == ("fail", 11)
    if command[0] != "doctor":  # a problem that doctor finds is no failure of doctor
        assert end["error"]["kind"] == "NoDeviceError"
        assert end["error"]["exit_code"] == 11
        assert "set BOOT0 high" in end["error"]["do"]
        assert err.startswith("splitflash: USB: no device in DFU mode found")


def test_a_drop_tells_its_progress_in_whole_percents_and_what_it_staged(
    file: str, monkeypatch: Patch, capsys: Captured
) -> None:
    street.plug_in(monkeypatch, street.board())
    assert run(["drop", file, "--json"]) == 0
    lines = [line for line in told(capsys) if line["data"]["device"] == "usb:1-1"]
    assert [lines[0]["type"], lines[-1]["type"]] == ["task_begin", "task_end"]
    progress = [line["data"] for line in lines if line["type"] == "task_progress"]
    phases = list(dict.fromkeys(step["phase"] for step in progress))
    assert phases == ["compare", "erase", "write", "read back"]
    for phase in phases:
        percents = [step["percent"] for step in progress if step["phase"] == phase]
        assert percents == sorted(set(percents))
        assert percents[-1] == 100
    (staged,) = [line["data"] for line in lines if line["type"] == "info"]
    assert staged["kind"] == "staged"
    assert staged["staged"] == {"update": "pump-1.4.2.update", "was_staged_already": False}


def test_with_several_devices_each_has_its_own_begin_and_end(
    file: str, monkeypatch: Patch, capsys: Captured
) -> None:
    street.plug_in(monkeypatch, street.board(), street.board(rdp=0x55))
    assert run(["drop", file, "--all", "--json"]) == 17
    ends = {
        line["data"]["device"]: line["data"] for line in told(capsys) if line["type"] == "task_end"
    }
    assert {device: end["exit_code"] for device, end in ends.items()} == {
        "usb:1-1": 0,
        "usb:1-2": 14,
        None: 17,
    }
    assert ends["usb:1-2"]["error"]["kind"] == "ProtectedError"


def test_a_plan_is_told_as_steps(file: str, monkeypatch: Patch, capsys: Captured) -> None:
    street.plug_in(monkeypatch, street.board())
    assert run(["drop", file, "--dry-run", "--json"]) == 0
    (plan,) = [line["data"]["plan"] for line in told(capsys) if line["type"] == "info"]
    assert plan[0] == {"step": "erase", "address": "0x08020000", "size": 0x20000}
    assert plan[-1] == {"step": "read back", "address": "0x08020000", "size": 1024}


def test_an_interruption_is_told_as_130(file: str, monkeypatch: Patch, capsys: Captured) -> None:
    from packager.dfu import staging

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    street.plug_in(monkeypatch, street.board())
    monkeypatch.setattr(staging, "run_plan", interrupt)
    assert run(["drop", file, "--json"]) == 130
    end = told(capsys)[-1]["data"]
    assert (end["result"], end["exit_code"]) == ("fail", 130)
    assert end["error"]["message"] == "interrupted"


def test_without_json_stdout_holds_no_json(file: str, monkeypatch: Patch, capsys: Captured) -> None:
    street.plug_in(monkeypatch, street.board())
    assert run(["drop", file]) == 0
    for line in capsys.readouterr().out.splitlines():
        with pytest.raises(json.JSONDecodeError):
            json.loads(line)


def test_the_help_of_drop_names_every_type_of_line(capsys: Captured) -> None:
    run(["drop", "--help"])
    out = capsys.readouterr().out
    for name in ("task_begin", "task_progress", "info", "log", "task_end"):
        assert f"\n    {name} " in out
