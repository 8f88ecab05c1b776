"""A pyusb backend over scripted devices, with the errors an operating system can answer."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import usb.backend
import usb.core
from dfu.scripted import Rom

from packager.dfu.pipe import GoneError, StalledError
from packager.errors import DeviceTimeoutError

ALTERNATES = ["@Internal Flash   /0x08000000/16*128Kg", "@Option Bytes   /0x5200201C/01*128 e"]
FUNCTIONAL = bytes.fromhex("0921 0b ff00 0004 1a01")
SERIAL = "200364500000"


class Plugged:
    """One device on the bus; every one has the same serial number, as in the field."""

    def __init__(
        self,
        rom: Rom,
        *ports: int,
        alternates: list[str] | None = None,
        functional: bytes = FUNCTIONAL,
        protocol: int = 2,
        open_error: BaseException | None = None,
        transfer_error: BaseException | None = None,
    ) -> None:
        self.rom, self.ports = rom, ports
        self.alternates = ALTERNATES if alternates is None else alternates
        self.functional, self.protocol = functional, protocol
        self.open_error, self.transfer_error = open_error, transfer_error
        self.alternate: int | None = None


class Bus(usb.backend.IBackend):
    def __init__(self, *devices: Plugged) -> None:
        self.devices = devices

    def enumerate_devices(self) -> Iterator[Plugged]:
        yield from self.devices

    def get_parent(self, dev: Plugged) -> None:
        return None

    def get_device_descriptor(self, dev: Plugged) -> Any:
        return SimpleNamespace(
            bLength=18, bDescriptorType=1, bcdUSB=0x100, bDeviceClass=0, bDeviceSubClass=0,
            bDeviceProtocol=0, bMaxPacketSize0=64, idVendor=0x0483, idProduct=0xDF11,
            bcdDevice=0x200, iManufacturer=1, iProduct=2, iSerialNumber=3, bNumConfigurations=1,
            address=9, bus=1, port_number=dev.ports[-1] if dev.ports else None,
            port_numbers=dev.ports or None, speed=2,
        )  # fmt: skip

    def get_configuration_descriptor(self, dev: Plugged, config: int) -> Any:
        if config:
            raise IndexError
        return SimpleNamespace(
            bLength=9, bDescriptorType=2, wTotalLength=36, bNumInterfaces=1,
            bConfigurationValue=1, iConfiguration=0, bmAttributes=0xC0, bMaxPower=50,
            extra_descriptors=[],
        )  # fmt: skip

    def get_interface_descriptor(self, dev: Plugged, intf: int, alt: int, config: int) -> Any:
        if intf or alt >= len(dev.alternates):
            raise IndexError
        last = alt == len(dev.alternates) - 1
        return SimpleNamespace(
            bLength=9, bDescriptorType=4, bInterfaceNumber=0, bAlternateSetting=alt,
            bNumEndpoints=0, bInterfaceClass=0xFE, bInterfaceSubClass=1,
            bInterfaceProtocol=dev.protocol, iInterface=4 + alt,
            extra_descriptors=list(dev.functional) if last else [],
        )  # fmt: skip

    def get_endpoint_descriptor(self, dev: Plugged, ep: int, intf: int, alt: int, conf: int) -> Any:
        raise IndexError

    def open_device(self, dev: Plugged) -> Plugged:
        if dev.open_error:
            raise dev.open_error
        return dev

    def close_device(self, dev: Plugged) -> None:
        dev.rom.close()

    def get_configuration(self, dev: Plugged) -> int:
        return 1

    def claim_interface(self, dev: Plugged, intf: int) -> None:
        pass

    def release_interface(self, dev: Plugged, intf: int) -> None:
        pass

    def set_interface_altsetting(self, dev: Plugged, intf: int, alt: int) -> None:
        dev.alternate = alt

    def ctrl_transfer(
        self,
        dev: Plugged,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data: Any,
        timeout: int,
    ) -> int:
        if dev.transfer_error:
            raise dev.transfer_error
        incoming = bool(request_type & 0x80)
        if request_type == 0x80:
            text = dev.alternates[(value & 0xFF) - 4].encode("utf-16-le")
            answer = bytes([len(text) + 2, 3]) + text
        else:
            what = len(data) if incoming else data.tobytes()
            try:
                answer = dev.rom.ctrl_transfer(request_type, request, value, index, what, timeout)
            except StalledError:
                raise usb.core.USBError("Pipe error", -9, errno.EPIPE) from None
            except GoneError:
                raise usb.core.USBError("No such device", -4, errno.ENODEV) from None
            except DeviceTimeoutError:
                raise usb.core.USBTimeoutError("timed out", -7, errno.ETIMEDOUT) from None
        if not incoming:
            return len(data)
        for at, byte in enumerate(answer):
            data[at] = byte
        return len(answer)
