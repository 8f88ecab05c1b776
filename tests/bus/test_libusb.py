"""Our own command line through pyusb and the real libusb."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import workshop

from packager.errors import (
    DeviceError,
    DeviceTimeoutError,
    NoDeviceError,
    PermissionOrDriverError,
    ProtectedError,
    RefusedError,
    SeveralDevicesError,
)

from .mocked_bus import Ended, MockedBus
from .permission import as_a_mortal, closed
from .scene import NEW, OLD, Product, stop_answering

Run = Callable[..., Ended]


@pytest.fixture
def thing(product: Callable[[str], Product]) -> Product:
    return product(workshop.DEFAULT)


@pytest.fixture
def run(bus: MockedBus, splitflash: tuple[str, ...], thing: Product, tmp_path: Path) -> Run:
    (tmp_path / "update.bin").write_bytes(thing.update)

    def run(
        *arguments: str, extra: dict[str, str] | None = None, before: Sequence[str] = ()
    ) -> Ended:
        return bus.run([*before, *splitflash, *arguments], cwd=tmp_path, extra=extra)

    return run


@pytest.mark.parametrize("where", [(), ("--device", "usb:1-1")], ids=["only one", "by port"])
def test_a_drop_is_installed_at_the_next_power_on(
    bus: MockedBus, run: Run, thing: Product, where: tuple[str, ...]
) -> None:
    board = thing.board()
    with bus.with_board(board):
        ended = run("drop", "update.bin", *where)
    assert ended.code == 0, ended.out
    assert "usb:1-1" in ended.out
    assert board.read(thing.layout.staging.start, len(thing.update)) == thing.update
    assert thing.power_cycle(board) == NEW


def test_the_distributions_libusb_does_it_too(
    bus: MockedBus, run: Run, thing: Product, tmp_path: Path
) -> None:
    """Where libusb-package is not installed, libusb is the system's."""
    (tmp_path / "libusb_package.py").write_text("raise ImportError\n")
    board = thing.board()
    with bus.with_board(board):
        ended = run("drop", "update.bin", extra={"PYTHONPATH": _first(tmp_path)})
    assert ended.code == 0, ended.out
    assert thing.power_cycle(board) == NEW


def test_status_tells_what_is_staged(bus: MockedBus, run: Run, thing: Product) -> None:
    board = thing.board(0x90)
    with bus.with_board(board):
        assert run("drop", "update.bin").code == 0
        ended = run("status")
    assert ended.code == 0, ended.out
    assert "rom.id: 0x90" in ended.out
    assert "2.0.0" in ended.out


def test_a_drop_that_lost_power_is_finished_by_dropping_again(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    board = thing.board()
    board.boot(boot0=True, cut="100-torn")
    with bus.with_board(board):
        ended = run("drop", "update.bin")
    assert ended.code == DeviceError.exit_code, ended.out
    board.boot(boot0=True)
    with bus.with_board(board):
        ended = run("drop", "update.bin")
    assert ended.code == 0, ended.out
    assert thing.power_cycle(board) == NEW


def test_a_leave_starts_the_loader_which_installs(bus: MockedBus, run: Run, thing: Product) -> None:
    board = thing.board()
    with bus.with_board(board):
        ended = run("drop", "update.bin", "--leave")
    assert ended.code == 0, ended.out
    assert workshop.runs(board.boot_after_leave(strict=False))
    assert thing.shop.app_is(board, thing.new)


def test_without_a_device_it_says_what_to_do(run: Run, thing: Product) -> None:
    ended = run("drop", "update.bin")
    assert ended.code == NoDeviceError.exit_code
    assert "set BOOT0 high" in ended.out
    assert "Traceback" not in ended.out


def test_a_port_without_a_device_names_those_that_have_one(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    with bus.with_board(thing.board()):
        ended = run("drop", "update.bin", "--device", "usb:1-2")
    assert ended.code == NoDeviceError.exit_code
    assert "usb:1-1" in ended.out


def test_of_two_devices_none_is_guessed(bus: MockedBus, run: Run, thing: Product) -> None:
    first, second = thing.board(), thing.board()
    with bus.with_board(first), bus.with_board(second, port=2):
        ended = run("drop", "update.bin")
        assert ended.code == SeveralDevicesError.exit_code, ended.out
        assert not first.flash.operations
        assert run("drop", "update.bin", "--device", "usb:1-2").code == 0
    assert (thing.power_cycle(first), thing.power_cycle(second)) == (OLD, NEW)


def test_a_protected_device_is_explained_and_not_touched(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    board = thing.board(protected=True)
    with bus.with_board(board):
        ended = run("drop", "update.bin")
    assert ended.code == ProtectedError.exit_code, ended.out
    assert "do NOT let any tool disable the protection" in ended.out
    assert not board.flash.operations


def test_an_update_of_another_product_is_refused_before_anything_is_written(
    bus: MockedBus, run: Run, thing: Product, tmp_path: Path
) -> None:
    (tmp_path / "other.bin").write_bytes(thing.foreign_update)
    board = thing.board()
    with bus.with_board(board):
        ended = run("drop", "other.bin")
    assert ended.code == RefusedError.exit_code, ended.out
    assert not board.flash.operations


def test_without_permission_it_prints_the_udev_rule(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    board = thing.board()
    with bus.with_board(board), closed(bus.device_node()):
        ended = run("drop", "update.bin", before=as_a_mortal())
    assert ended.code == PermissionOrDriverError.exit_code, ended.out
    assert 'ATTR{idProduct}=="df11"' in ended.out
    assert not board.flash.operations


@pytest.mark.parametrize("transfer", [1, 5, 9, 20, 60])
def test_unplugged_anywhere_it_ends_with_one_line(
    bus: MockedBus, run: Run, thing: Product, transfer: int
) -> None:
    board = thing.board()
    assert board.rom
    board.rom.unplug_at = board.rom.transfers + transfer
    with bus.with_board(board):
        ended = run("drop", "update.bin")
    assert ended.code in (DeviceError.exit_code, NoDeviceError.exit_code), ended.out
    assert "Traceback" not in ended.out
    assert thing.power_cycle(board) == OLD


@pytest.mark.parametrize("transfer", [1, 2, 3, 4, 6, 9, 15, 40, 60])
def test_when_the_device_stops_answering_it_ends_with_one_line(
    bus: MockedBus, run: Run, thing: Product, transfer: int
) -> None:
    """Of SET_INTERFACE, the second one, the kernel's timeout comes through libusb as 'other'."""
    board = thing.board()
    stop_answering(board, transfer)
    with bus.with_board(board):
        ended = run("drop", "update.bin")
    expected = DeviceError if transfer == 2 else DeviceTimeoutError
    assert ended.code == expected.exit_code, ended.out
    assert "Traceback" not in ended.out
    assert not ended.cable_pulled
    assert ended.virtual_seconds < 60
    assert thing.power_cycle(board) == OLD


@pytest.mark.parametrize("poll", [5, 20, 45, 60, 80, 100])
def test_after_ctrl_c_an_application_runs_and_the_next_drop_works(
    bus: MockedBus, run: Run, thing: Product, poll: int
) -> None:
    board = thing.board()
    with bus.with_board(board):
        ended = run("drop", "update.bin", extra={"INTERRUPT_AT_POLL": str(poll)})
        assert ended.code == 130, ended.out
        assert "Traceback" not in ended.out
        kept = board.snapshot()
        ended = run("drop", "update.bin")
    assert ended.code == 0, ended.out
    assert thing.power_cycle(board) == NEW
    board.restore(kept)
    assert thing.power_cycle(board) in (OLD, NEW), "the update may have been complete"


# -- several boards --------------------------------------------------------------------------------


def test_devices_lists_every_board_and_where_it_is(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    boards = thing.board(0x90), thing.board(0xD2, protected=True)
    with bus.with_board(boards[0]), bus.with_board(boards[1], port=2):
        ended = run("devices", "--json")
    data = [json.loads(line)["data"] for line in ended.out.splitlines()]
    found = {d["device"]: d["identity"] for d in data if "identity" in d}
    assert set(found) == {"usb:1-1", "usb:1-2"}, ended.out
    assert [found[where]["read_protected"] for where in sorted(found)] == [False, True]
    assert not any(board.flash.operations for board in boards)


def test_a_drop_to_all_serves_every_board_at_once(bus: MockedBus, run: Run, thing: Product) -> None:
    boards = [thing.board(rom_id) for rom_id in (0x90, 0x91, 0xD2)]
    with ExitStack() as stack:
        for port, board in enumerate(boards, start=1):
            stack.enter_context(bus.with_board(board, port))
        ended = run("drop", "--all", "update.bin")
    assert ended.code == 0, ended.out
    assert [thing.power_cycle(board) for board in boards] == [NEW] * 3


def test_a_drop_to_all_finishes_the_others_when_one_fails(
    bus: MockedBus, run: Run, thing: Product
) -> None:
    good, protected = thing.board(), thing.board(protected=True)
    with bus.with_board(good), bus.with_board(protected, port=2):
        ended = run("drop", "--all", "update.bin")
    assert ended.code == 17, ended.out
    assert "Traceback" not in ended.out
    assert (thing.power_cycle(good), thing.power_cycle(protected)) == (NEW, OLD)


# -- the doctor ------------------------------------------------------------------------------------


def test_the_doctor_finds_a_board_well(bus: MockedBus, run: Run, thing: Product) -> None:
    with bus.with_board(thing.board()):
        ended = run("doctor")
    assert ended.code == 0, ended.out
    assert "usb:1-1" in ended.out


def test_the_doctor_finds_a_missing_permission(bus: MockedBus, run: Run, thing: Product) -> None:
    with bus.with_board(thing.board()), closed(bus.device_node()):
        ended = run("doctor", before=as_a_mortal())
    assert ended.code == PermissionOrDriverError.exit_code, ended.out
    assert 'ATTR{idProduct}=="df11"' in ended.out


def test_the_doctor_finds_no_device(run: Run) -> None:
    ended = run("doctor")
    assert ended.code == NoDeviceError.exit_code, ended.out
    assert "Traceback" not in ended.out


def _first(folder: Path) -> str:
    """Return a PYTHONPATH that begins with ``folder``."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
