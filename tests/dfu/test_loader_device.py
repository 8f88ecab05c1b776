"""A device whose own loader answers: none of the ROM's faults, and other words."""

from __future__ import annotations

import pytest
from dfu.scripted import BUSY, Rom

from packager.dfu.pipe import GoneError
from packager.dfu.protocol import DfuSe
from packager.dfu.replies import LOADER_AGAIN
from packager.errors import DeviceError, DeviceTimeoutError

STAGING, BANK_2 = 0x0802_0000, 0x0810_0000


def client(device: Rom) -> DfuSe:
    return DfuSe(device, device.clock, transfer_size=device.transfer_size, is_loader=True)


def test_it_is_not_asked_for_a_rom_id() -> None:
    device = Rom()

    assert client(device).read_rom_id().name == "not in use"
    assert device.log == []


def test_an_erase_in_bank_2_is_believed_like_any_other() -> None:
    device = Rom(rom_id=0x90)
    device.put(BANK_2, b"old")

    client(device).erase_sector(BANK_2)

    reads = [size for name, _, size in device.log if name == "UPLOAD"]
    assert reads == [device.transfer_size]


def test_one_that_stays_busy_is_not_freed_like_the_rom() -> None:
    device = Rom()
    device.state, device.stuck_until = BUSY, 1e9

    with pytest.raises(DeviceTimeoutError, match="still busy") as caught:
        client(device).to_idle()

    assert caught.value.do == LOADER_AGAIN
    assert "CLRSTATUS" not in [name for name, *_ in device.log]


def test_no_error_sends_anybody_to_boot0() -> None:
    device = Rom(unplug_at=4)

    with pytest.raises((GoneError, DeviceError)) as caught:
        client(device).upload(STAGING, 4096)

    assert "BOOT0" not in str(caught.value)
