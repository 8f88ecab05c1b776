"""A pyusb backend whose bus is made of virtual boards sitting in a DFU device.

The same client code drives it and real devices: ``usb.core.find(backend=...)``.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import usb.backend
import usb.core

from packager.sim.usb import Gone, Hung, Socket, Stall, UsbDevice

_PIPE = (-9, errno.EPIPE)
_NO_DEVICE = (-4, errno.ENODEV)
_TIMEOUT = (-7, errno.ETIMEDOUT)
_FULL_SPEED = 2
_INTERFACE = 4


@dataclass
class _Device:
    """One enumeration of one device; it stays dead once it left."""

    usb: UsbDevice
    bus: int
    ports: tuple[int, ...]
    address: int


@dataclass
class _Fields:
    """Descriptor fields as attributes, the way pyusb wants them."""

    extra_descriptors: list[int] = field(default_factory=list)

    def take(self, names: str, raw: bytes) -> _Fields:
        """Split ``raw`` by ``names``: ``b`` and ``i`` fields are a byte, ``w`` fields two."""
        at = 0
        for name in names.split():
            size = 2 if name.startswith(("bcd", "id", "w")) else 1
            setattr(self, name, int.from_bytes(raw[at : at + size], "little"))
            at += size
        return self


def _split(configuration: bytes) -> Iterator[bytes]:
    """Yield the descriptors of a configuration one by one."""
    at = 0
    while at + 2 <= len(configuration) and configuration[at] >= 2:
        yield configuration[at : at + configuration[at]]
        at += configuration[at]


class VirtualUsb(usb.backend.IBackend):  # type: ignore[misc]
    """USB bus 1 with a board on each port, counted from 1 in the order given."""

    def __init__(self, boards: Sequence[Socket], *, bus: int = 1) -> None:
        self._boards = list(boards)
        self._bus = bus
        self._devices: dict[int, _Device] = {}
        self._addresses = 0

    # -- enumeration ------------------------------------------------------------------------------

    def enumerate_devices(self) -> Iterator[_Device]:
        """Yield the devices that are on the bus now."""
        for port, board in enumerate(self._boards, start=1):
            usb_device = board.device
            if usb_device is None:
                continue
            device = self._devices.get(port)
            if device is None or device.usb is not usb_device:
                self._addresses += 1
                device = _Device(usb_device, self._bus, (port,), self._addresses)
                self._devices[port] = device
            yield device

    def get_parent(self, dev: _Device) -> None:
        """Every device hangs on the root hub."""
        return

    def get_device_descriptor(self, dev: _Device) -> Any:
        """Return the device descriptor and where the device is plugged in."""
        found: Any = _Fields().take(
            "bLength bDescriptorType bcdUSB bDeviceClass bDeviceSubClass bDeviceProtocol"
            " bMaxPacketSize0 idVendor idProduct bcdDevice iManufacturer iProduct iSerialNumber"
            " bNumConfigurations",
            dev.usb.descriptors.device,
        )
        found.address, found.bus, found.speed = dev.address, dev.bus, _FULL_SPEED
        found.port_number, found.port_numbers = dev.ports[-1], dev.ports
        return found

    def get_configuration_descriptor(self, dev: _Device, config: int) -> Any:
        """Return the only configuration."""
        if config != 0:
            raise IndexError(config)
        return _Fields().take(
            "bLength bDescriptorType wTotalLength bNumInterfaces bConfigurationValue"
            " iConfiguration bmAttributes bMaxPower",
            dev.usb.descriptors.configuration,
        )

    def get_interface_descriptor(self, dev: _Device, intf: int, alt: int, config: int) -> Any:
        """Return one alternate setting, with the descriptors that follow it."""
        found: list[bytes] = []
        if config == 0:
            for raw in _split(dev.usb.descriptors.configuration):
                if raw[1] == _INTERFACE and found:
                    break
                if found or (raw[1] == _INTERFACE and (raw[2], raw[3]) == (intf, alt)):
                    found.append(raw)
        if not found:
            raise IndexError(alt)
        fields = _Fields(list(b"".join(found[1:])))
        return fields.take(
            "bLength bDescriptorType bInterfaceNumber bAlternateSetting bNumEndpoints"
            " bInterfaceClass bInterfaceSubClass bInterfaceProtocol iInterface",
            found[0],
        )

    def get_endpoint_descriptor(
        self, dev: _Device, ep: int, intf: int, alt: int, config: int
    ) -> Any:
        """There is endpoint 0 only."""
        raise IndexError(ep)

    # -- handles ----------------------------------------------------------------------------------

    def open_device(self, dev: _Device) -> _Device:
        """Open a device that is still on the bus."""
        if not dev.usb.is_on_bus:
            raise usb.core.USBError("No such device (it may have been disconnected)", *_NO_DEVICE)
        return dev

    def close_device(self, dev_handle: _Device) -> None:
        """Close; nothing to do."""

    def set_configuration(self, dev_handle: _Device, config_value: int) -> None:
        """Select the configuration."""
        self._control(dev_handle, 0x00, 9, config_value, 0, b"", None)

    def get_configuration(self, dev_handle: _Device) -> int:
        """Return the number of the only configuration."""
        return 1

    def set_interface_altsetting(self, dev_handle: _Device, intf: int, altsetting: int) -> None:
        """Select flash or option bytes."""
        self._control(dev_handle, 0x01, 11, altsetting, intf, b"", None)

    def claim_interface(self, dev_handle: _Device, intf: int) -> None:
        """Claim; nobody else is there."""

    def release_interface(self, dev_handle: _Device, intf: int) -> None:
        """Release; nothing to do."""

    def reset_device(self, dev_handle: _Device) -> None:
        """Reset the port."""
        dev_handle.usb.reset()

    def clear_halt(self, dev_handle: _Device, ep: int) -> None:
        """Endpoint 0 does not halt."""

    def is_kernel_driver_active(self, dev_handle: _Device, intf: int) -> bool:
        """No driver of the operating system is bound."""
        return False

    def detach_kernel_driver(self, dev_handle: _Device, intf: int) -> None:
        """No driver of the operating system is bound."""

    def attach_kernel_driver(self, dev_handle: _Device, intf: int) -> None:
        """No driver of the operating system is bound."""

    # -- transfers --------------------------------------------------------------------------------

    def ctrl_transfer(
        self,
        dev_handle: _Device,
        bmRequestType: int,  # noqa: N803 - the names of pyusb
        bRequest: int,  # noqa: N803
        wValue: int,  # noqa: N803
        wIndex: int,  # noqa: N803
        data: Any,
        timeout: int | None,
    ) -> int:
        """Transfer; IN fills ``data`` in place and returns the count, OUT returns what was sent."""
        if not bmRequestType & 0x80:
            sent = data.tobytes()
            self._control(dev_handle, bmRequestType, bRequest, wValue, wIndex, sent, timeout)
            return len(sent)
        answer = self._control(
            dev_handle, bmRequestType, bRequest, wValue, wIndex, len(data), timeout
        )
        for at, byte in enumerate(answer):
            data[at] = byte
        return len(answer)

    def _control(
        self,
        device: _Device,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data: bytes | int,
        timeout: int | None,
    ) -> bytes:
        clock = device.usb.clock
        begin = clock.now
        try:
            answer = device.usb.control(request_type, request, value, index, data)
        except Stall as stall:
            raise usb.core.USBError("Pipe error", *_PIPE) from stall
        except Gone as gone:
            raise usb.core.USBError("No such device", *_NO_DEVICE) from gone
        except Hung as hung:
            raise usb.core.USBTimeoutError("Operation timed out", *_TIMEOUT) from hung
        if timeout and (clock.now - begin) * 1000 > timeout:
            raise usb.core.USBTimeoutError("Operation timed out", *_TIMEOUT)
        return answer
