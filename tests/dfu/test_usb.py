from __future__ import annotations

import errno
import re
import sys
from typing import Any

import pytest
import usb.backend.libusb1
import usb.core
from dfu import products
from dfu.fake_usb import FUNCTIONAL, Bus, Plugged
from dfu.scripted import Rom

from packager.dfu.staging import prepare_drop, run_plan
from packager.dfu.target import read_info
from packager.dfu.usb import find_devices, libusb_version, open_device
from packager.errors import (
    DeviceError,
    DeviceTimeoutError,
    NoDeviceError,
    PermissionOrDriverError,
    SeveralDevicesError,
)


def os_error(number: int | None) -> usb.core.USBError:
    return usb.core.USBError("text of the system", -1, number)


def test_a_device_is_known_by_bus_and_ports() -> None:
    assert [d.key for d in find_devices(Bus(Plugged(Rom(), 2, 4)))] == ["usb:1-2.4"]


def test_a_platform_without_ports_leaves_the_address() -> None:
    assert [d.key for d in find_devices(Bus(Plugged(Rom())))] == ["usb:1-9"]


def test_devices_are_listed_by_port() -> None:
    bus = Bus(Plugged(Rom(), 10), Plugged(Rom(), 2), Plugged(Rom(), 2, 1))
    assert [d.key for d in find_devices(bus)] == ["usb:1-2", "usb:1-2.1", "usb:1-10"]


def test_a_device_that_is_not_in_dfu_mode_is_none() -> None:
    assert find_devices(Bus(Plugged(Rom(), 1, protocol=1))) == ()


@pytest.mark.parametrize("raised", [NotImplementedError(), os_error(errno.ENOENT)])
def test_a_device_whose_descriptors_cannot_be_read_without_a_driver_is_still_one(
    raised: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = Bus(Plugged(Rom(), 3))

    def unreadable(*_: object) -> None:
        raise raised

    monkeypatch.setattr(bus, "get_configuration_descriptor", unreadable)
    assert [device.key for device in find_devices(bus)] == ["usb:1-3"]
    with pytest.raises(PermissionOrDriverError, match=r"usb:1-3: .*STM32Bootloader.inf"):
        open_device(backend=bus)


def test_the_version_of_libusb_is_told_or_not_known() -> None:
    assert libusb_version(Bus()) == "unknown version"
    assert re.fullmatch(r"\d+\.\d+\.\d+", libusb_version())


def test_no_device_says_how_to_get_one() -> None:
    with pytest.raises(NoDeviceError, match=r"looked for 0483:df11; set BOOT0 high"):
        open_device(backend=Bus())


def test_two_boards_with_the_same_serial_are_not_guessed_between() -> None:
    with pytest.raises(SeveralDevicesError, match=r"usb:1-1, usb:1-2.*--device usb:1-1"):
        open_device(backend=Bus(Plugged(Rom(), 1), Plugged(Rom(), 2)))


def test_one_of_several_is_chosen_by_its_port() -> None:
    first, second = Rom(), Rom()
    bus = Bus(Plugged(first, 1), Plugged(second, 2))
    with open_device("usb:1-2", backend=bus, clock=second.clock):
        assert second.log
    assert first.log == []


def test_a_port_with_nothing_on_it_names_the_ports_that_have() -> None:
    with pytest.raises(
        NoDeviceError, match=r"usb:1-7: no device in DFU mode there, found: usb:1-1"
    ):
        open_device("usb:1-7", backend=Bus(Plugged(Rom(), 1)))


def test_the_flash_is_found_by_its_map_and_never_the_option_bytes() -> None:
    flash, options = "@Internal Flash/0x08000000/16*128Kg", "@Option Bytes/0x5200201C/01*128 e"
    plugged = Plugged(rom := Rom(), 1, alternates=[options, "no map", flash])
    with open_device(backend=Bus(plugged), clock=rom.clock) as client:
        assert client.memory_map
        assert client.memory_map.name == "Internal Flash"
    assert plugged.alternate == 2


def test_a_device_without_flash_is_refused_by_name() -> None:
    with pytest.raises(DeviceError, match="expected one with readable flash"):
        open_device(backend=Bus(Plugged(Rom(), 1, alternates=["@Other/0x90000000/1*1Kg"])))


@pytest.mark.parametrize(
    ("functional", "size"),
    [
        (FUNCTIONAL, 1024),
        (FUNCTIONAL[:5] + b"\0\x08\x1a\x01", 2048),
        (b"", 1024),
        (b"\x02\x30", 1024),
    ],
)
def test_the_transfer_size_comes_out_of_the_configuration(functional: bytes, size: int) -> None:
    bus = Bus(Plugged(rom := Rom(transfer_size=size), 1, functional=functional))
    with open_device(backend=bus, clock=rom.clock) as client:
        assert client.transfer_size == size


@pytest.mark.parametrize(
    ("raised", "kind", "text"),
    [
        (os_error(errno.EACCES), PermissionOrDriverError, "udev rule"),
        (os_error(errno.EPERM), PermissionOrDriverError, "udev rule"),
        (os_error(errno.EBUSY), PermissionOrDriverError, "another program holds"),
        (os_error(errno.ENOENT), PermissionOrDriverError, "pnputil"),
        (NotImplementedError("not supported"), PermissionOrDriverError, "pnputil"),
        (os_error(errno.ENODEV), DeviceError, "left the bus"),
        (os_error(errno.EIO), DeviceError, "left the bus"),
        (os_error(errno.ETIMEDOUT), DeviceTimeoutError, "no answer in time"),
        (usb.core.USBTimeoutError("x", -7, errno.ETIMEDOUT), DeviceTimeoutError, "no answer"),
        (os_error(None), DeviceError, "text of the system"),
    ],
)
@pytest.mark.parametrize("moment", ["open", "transfer"])
def test_every_error_of_the_system_becomes_one_of_ours(
    moment: str, raised: BaseException, kind: type[DeviceError], text: str
) -> None:
    errors = {f"{moment}_error": raised}
    with pytest.raises(kind, match=rf"usb:1-1: .*{text}"):
        open_device(backend=Bus(Plugged(Rom(), 1, **errors)))  # type: ignore[arg-type]


def test_a_missing_libusb_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libusb_package", None)
    monkeypatch.setattr(usb.backend.libusb1, "get_backend", lambda: None)
    with pytest.raises(PermissionOrDriverError, match="pip install libusb-package"):
        find_devices()


def test_the_configuration_is_never_set() -> None:
    assert not hasattr(Bus, "set_configuration") or (
        Bus.set_configuration is usb.backend.IBackend.set_configuration  # raises when called
    )
    with open_device(backend=Bus(Plugged(rom := Rom(), 1)), clock=rom.clock):
        pass


def test_a_whole_drop_goes_through_pyusb() -> None:
    rom = Rom()
    rom.put(products.INFO_ADDRESS, products.info_bytes())
    update = products.update(5000)
    with open_device(backend=Bus(Plugged(rom, 1)), clock=rom.clock) as client:
        run_plan(prepare_drop(update, client), client)
    assert rom.get(products.STAGING.start, len(update)) == update
    assert rom.closed


def test_an_unplug_through_pyusb_names_the_phase() -> None:
    rom = Rom(unplug_at=120)
    rom.put(products.INFO_ADDRESS, products.info_bytes())
    with (
        pytest.raises(DeviceError, match=r"usb:1-1: (write|read) at 0x\w+: the device left"),
        open_device(backend=Bus(Plugged(rom, 1)), clock=rom.clock) as client,
    ):
        run_plan(prepare_drop(products.update(90000), client), client)


def test_an_unreadable_word_through_pyusb_is_a_refusal_not_an_unplug() -> None:
    rom = Rom(unreadable={products.INFO_ADDRESS})
    with open_device(backend=Bus(Plugged(rom, 1)), clock=rom.clock) as client:
        assert read_info(client) is None


def test_a_device_that_answers_nothing_for_a_name_has_none() -> None:
    class Silent(Bus):
        def ctrl_transfer(self, dev: Plugged, request_type: int, *rest: Any) -> int:
            return 0 if request_type == 0x80 else super().ctrl_transfer(dev, request_type, *rest)

    with pytest.raises(DeviceError, match=r"usb:1-1: memories \['', ''\], expected one with"):
        open_device(backend=Silent(Plugged(Rom(), 1)))
