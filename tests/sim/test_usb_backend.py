"""The pyusb backend, through pyusb itself."""

from __future__ import annotations

import errno

import pytest
import usb.core
import usb.util

from packager.chip import CHIPS
from packager.sim.board import Board


def in_rom(rom_id: int = 0x90) -> Board:
    board = Board.new(CHIPS["stm32h743xi"], rom_id=rom_id)
    board.boot(boot0=True)
    return board


def find(board: Board) -> usb.core.Device:
    found = usb.core.find(backend=board.usb_backend(), idVendor=0x0483, idProduct=0xDF11)
    assert found is not None
    return found


def test_a_board_in_the_rom_is_found_by_its_ids() -> None:
    device = find(in_rom())
    assert (device.bus, device.port_numbers) == (1, (1,))
    assert device.manufacturer == "STMicroelectronics"
    assert device.product == "DFU in FS Mode"


def test_a_board_that_runs_its_application_is_not_on_the_bus() -> None:
    board = Board.new(CHIPS["stm32h743xi"])
    board.boot()
    assert usb.core.find(backend=board.usb_backend()) is None


def test_the_alternate_settings_carry_the_names_of_the_memories() -> None:
    device = find(in_rom())
    names = [usb.util.get_string(device, setting.iInterface) for setting in device[0]]
    assert names == [
        "@Internal Flash   /0x08000000/16*128Kg",
        "@Option Bytes   /0x5200201C/01*128 e",
    ]


def test_the_functional_descriptor_hangs_on_the_last_setting() -> None:
    extra = [setting.extra_descriptors for setting in find(in_rom())[0]]
    assert extra == [[], [9, 0x21, 0x0B, 0xFF, 0, 0, 4, 0x1A, 1]]


def test_twins_have_one_serial_and_two_ports() -> None:
    first, second = in_rom(), in_rom()
    found = list(usb.core.find(find_all=True, backend=first.usb_backend(second)))
    assert len({device.serial_number for device in found}) == 1
    assert [device.port_numbers for device in found] == [(1,), (2,)]


def test_control_transfers_reach_the_rom() -> None:
    device = find(in_rom())
    assert device.ctrl_transfer(0x21, 1, 0, 0, b"\x21\x00\x00\x02\x08") == 5
    assert list(device.ctrl_transfer(0xA1, 3, 0, 0, 6)) == [0, 1, 0, 0, 4, 0]


def test_a_stall_is_a_pipe_error() -> None:
    device = find(in_rom())
    with pytest.raises(usb.core.USBError) as caught:
        device.ctrl_transfer(0xA1, 2, 1, 0, 64)
    assert caught.value.errno == errno.EPIPE


def test_a_device_that_left_is_no_such_device() -> None:
    board = in_rom()
    device = find(board)
    device.ctrl_transfer(0xA1, 3, 0, 0, 6)
    board.power_off()
    with pytest.raises(usb.core.USBError) as caught:
        device.ctrl_transfer(0xA1, 3, 0, 0, 6)
    assert caught.value.errno == errno.ENODEV
    assert usb.core.find(backend=board.usb_backend()) is None


def test_a_status_request_that_takes_longer_than_its_timeout_times_out() -> None:
    board = in_rom()
    device = find(board)
    device.ctrl_transfer(0x21, 1, 0, 0, b"\x41\x00\x00\x02\x08")
    with pytest.raises(usb.core.USBTimeoutError):
        device.ctrl_transfer(0xA1, 3, 0, 0, 6, timeout=500)


def test_a_board_plugged_in_again_gets_another_address() -> None:
    board = in_rom()
    backend = board.usb_backend()
    before = usb.core.find(backend=backend).address
    board.boot(boot0=True)
    assert usb.core.find(backend=backend).address == before + 1
