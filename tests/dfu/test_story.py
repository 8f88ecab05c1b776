"""The customer's road by the command line, with the shipped loader at its end."""

from __future__ import annotations

from pathlib import Path

import pytest
import workshop
from dfu import street

from packager.cli import run
from packager.sim.board import Board
from packager.update_file import write_update

Captured = pytest.CaptureFixture[str]


def test_an_update_interrupted_on_one_of_two_devices_ends_installed_on_both(
    shop: workshop.Workshop, tmp_path: Path, capsys: Captured
) -> None:
    old, new = shop.image(40_000), shop.image(50_000, seed=2)
    names = street.saved(tmp_path, shop.board(old, rom_id=0x90), shop.board(old, rom_id=0x92))
    paths = [Path(name.removeprefix("sim:")) for name in names]
    file = tmp_path / "update.hex"
    write_update(file, shop.update(new, "2.0.0", 2))
    to_both = ["--device", names[0], "--device", names[1]]

    half_dropped(paths[0], file)
    assert runs_after_power_on(paths[0], shop, old), "half an update changes nothing"
    assert run(["drop", str(file), *to_both]) == 0
    for path in paths:
        assert runs_after_power_on(path, shop, new)
    capsys.readouterr()

    assert run(["doctor", *to_both]) == 0
    out = capsys.readouterr().out
    assert out.count("installed: version 2.0.0, security counter 2") == 2
    assert out.count("staging: empty") == 2


def test_a_device_tells_in_doctor_why_it_refused_what_a_stock_tool_dropped(
    shop: workshop.Workshop, tmp_path: Path, capsys: Captured
) -> None:
    board = shop.board(shop.image(40_000), "2.0.0", counter=5)
    shop.stage(board, shop.update(shop.image(40_000, seed=2), "1.9.0", counter=4))
    assert workshop.runs(board.boot())
    (name,) = street.saved(tmp_path, board)
    assert run(["doctor", "--device", name]) == 8
    out = capsys.readouterr().out
    assert "last refusal: version 1.9.0: the security counter is below the floor" in out


def half_dropped(path: Path, file: Path) -> None:
    """Drop as the customer does who pulls the cable."""
    from packager.dfu.staging import prepare_drop, run_plan
    from packager.dfu.usb import open_device
    from packager.errors import DeviceError
    from packager.update_file import read_update_file

    board = Board.load(path)
    board.boot(boot0=True)
    assert board.rom
    board.rom.unplug_at = 200
    update = read_update_file(file).data
    with (
        pytest.raises(DeviceError, match="left the bus"),
        open_device(backend=board.usb_backend(), clock=board.clock) as client,
    ):
        run_plan(prepare_drop(update, client), client)
    board.save(path)


def runs_after_power_on(path: Path, shop: workshop.Workshop, image: bytes) -> bool:
    board = Board.load(path)
    report = board.boot()
    board.save(path)
    return workshop.runs(report) and shop.app_is(board, image)
