"""Finds DfuSe devices on USB and opens one; with ``usb_errors`` the only room that knows pyusb.

A device is known by where it is plugged in (bus and ports). Its serial number is not unique: the
ROM makes it from the chip revision. Every pyusb error leaves as one of ours with what to do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import usb.backend.libusb1
import usb.core
import usb.util

from packager.chip import BOOT_ADDRESS, FLASH_WORD, Span
from packager.dfu.advice import NO_DEVICE_DO
from packager.dfu.constants import LOADER_RELEASE, PRODUCT_ID, VENDOR_ID
from packager.dfu.memory_map import Access, MemoryMap, parse_memory_map
from packager.dfu.pipe import Clock
from packager.dfu.protocol import DfuSe
from packager.dfu.usb_errors import our_errors
from packager.errors import (
    DeviceError,
    NoDeviceError,
    SeveralDevicesError,
)

DFU_INTERFACE = (0xFE, 0x01, 0x02)
"""Class, subclass and protocol of an interface in DFU mode (DFU 1.1 table 4.4)."""
RUN_TIME_INTERFACE = (0xFE, 0x01, 0x01)
"""The same of a device whose application runs and could change to DFU mode (table 4.1)."""
FUNCTIONAL_DESCRIPTOR = 0x21
DEVICE_IN, GET_DESCRIPTOR, STRING_DESCRIPTOR = 0x80, 6, 3
"""Standard request to the device (USB 2.0 table 9-4)."""
ENGLISH_US = 0x0409
ROM_TRANSFER_SIZE = 1024
"""wTransferSize of the H743 ROM, for a device that keeps its functional descriptor to itself."""

DEBUG_PROBES = range(0x3744, 0x3758)
"""Product ids of ST-LINK, which people plug in by mistake."""


@dataclass(frozen=True)
class UsbDevice:
    """A DfuSe device on the bus, not opened."""

    key: str
    handle: Any

    @property
    def is_loader(self) -> bool:
        """Tell a loader of ours from the ROM bootloader."""
        return _is_loader(self.handle)


@dataclass(frozen=True)
class Alternate:
    """One alternate setting of the DFU interface: a memory."""

    interface: int
    number: int
    name: str


class UsbPipe:
    """Control transfers through pyusb; see :class:`packager.dfu.pipe.ControlPipe`."""

    def __init__(self, device: UsbDevice) -> None:
        self._device = device

    def ctrl_transfer(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data_or_length: bytes | int,
        timeout_ms: int,
    ) -> bytes:
        """Send bytes or receive up to that many."""
        with our_errors(self._device.key):
            answer = self._device.handle.ctrl_transfer(
                request_type, request, value, index, data_or_length, timeout_ms
            )
        if isinstance(data_or_length, int):
            return bytes(answer)
        if answer != len(data_or_length):
            raise DeviceError(
                self._device.key,
                f"only {answer} of {len(data_or_length)} bytes were sent",
                "",
                "check the cable and repeat the command",
            )
        return b""

    def close(self) -> None:
        """Let go of the device."""
        usb.util.dispose_resources(self._device.handle)


def find_devices(backend: Any = None) -> tuple[UsbDevice, ...]:
    """Return every ROM bootloader and every loader of ours, ordered by bus and port.

    Raises:
        PermissionOrDriverError: there is no way to reach USB at all.
    """
    with our_errors("USB"):
        found = [
            UsbDevice(_key(device), device)
            for device in usb.core.find(find_all=True, backend=backend or _default_backend())
            if (_has_our_ids(device) or _is_loader(device)) and _is_in_dfu_mode(device)
        ]
    return tuple(sorted(found, key=lambda device: _place(device.handle)))


def find_others(backend: Any = None) -> tuple[str, ...]:
    """Name what else is plugged in that may be meant: ST's, or an application that knows DFU.

    Raises:
        PermissionOrDriverError: there is no way to reach USB at all.
    """
    with our_errors("USB"):
        found = usb.core.find(find_all=True, backend=backend or _default_backend())
        named = [(device, _other_name(device)) for device in found]
    return tuple(f"{_key(device)} {name}" for device, name in named if name)


def libusb_version(backend: Any = None) -> str:
    """Return the version of libusb in use, "unknown version" where it does not tell.

    Raises:
        PermissionOrDriverError: libusb is missing.
    """
    with our_errors("USB"):
        backend = backend or _default_backend()
    try:
        ask = backend.lib.libusb_get_version
        ask.restype = ctypes.POINTER(ctypes.c_uint16 * 3)
        return ".".join(str(number) for number in ask().contents)
    except (AttributeError, ValueError):
        return "unknown version"


def open_device(
    key: str | None = None,
    *,
    backend: Any = None,
    clock: Clock | None = None,
    name: str | None = None,
) -> DfuSe:
    """Open the device plugged in at ``key`` (``usb:BUS-PORT``), or the only one there is.

    Errors call it ``name``, or else by where it is plugged in.

    Raises:
        NoDeviceError: none is there.
        SeveralDevicesError: no key was given and several are there.
        PermissionOrDriverError: the operating system does not let us talk to it.
    """
    device = _choose(find_devices(backend), key)
    pipe = UsbPipe(device)
    try:
        with our_errors(f"{device.key}: connect"):
            alternate, memory_map = _flash_alternate(device)
            device.handle.set_interface_altsetting(alternate.interface, alternate.number)
            transfer_size = _transfer_size(device.handle)
        client = DfuSe(
            pipe,
            clock,
            memory_map=memory_map,
            interface=alternate.interface,
            transfer_size=transfer_size,
            where=name or device.key,
            is_loader=device.is_loader,
        )
        client.to_idle()
    except BaseException:
        pipe.close()
        raise
    return client


def _choose(devices: tuple[UsbDevice, ...], key: str | None) -> UsbDevice:
    places = ", ".join(device.key for device in devices)
    if key is not None:
        for device in devices:
            if device.key == key:
                return device
        others = f"found: {places}" if places else "nor anywhere else"
        raise NoDeviceError(key, "no device in DFU mode there", others, NO_DEVICE_DO)
    if not devices:
        wanted = f"looked for {VENDOR_ID:04x}:{PRODUCT_ID:04x}"
        raise NoDeviceError("USB", "no device in DFU mode found", wanted, NO_DEVICE_DO)
    if len(devices) > 1:
        raise SeveralDevicesError(
            "USB",
            f"{len(devices)} devices in DFU mode: {places}",
            "we do not guess",
            f"choose one, for example --device {devices[0].key}",
        )
    return devices[0]


def _flash_alternate(device: UsbDevice) -> tuple[Alternate, MemoryMap]:
    """Find the memory that holds user flash; others (option bytes) are never opened."""
    names = []
    for interface in _dfu_interfaces(device.handle):
        name = _string(device.handle, interface.iInterface)
        names.append(name)
        try:
            memory_map = parse_memory_map(name)
        except DeviceError:
            continue
        if _holds_staging(device, memory_map):
            number, alternate = interface.bInterfaceNumber, interface.bAlternateSetting
            return Alternate(number, alternate, name), memory_map
    raise DeviceError(
        device.key,
        f"memories {names}",
        f"expected one with readable flash at 0x{BOOT_ADDRESS:08X}",
        "this is no STM32H743 in its ROM bootloader; choose another with --device",
    )


def _holds_staging(device: UsbDevice, memory_map: MemoryMap) -> bool:
    """The ROM shows all of flash; a loader shows staging, and may be asked about itself besides."""
    if not device.is_loader:
        return memory_map.allows(Span(BOOT_ADDRESS, 1), Access.READ)
    rights = Access.READ | Access.ERASE | Access.WRITE
    segments = memory_map.segments
    return bool(segments) and memory_map.allows(Span(segments[0].start, FLASH_WORD), rights)


def _has_our_ids(device: Any) -> bool:
    return (device.idVendor, device.idProduct) == (VENDOR_ID, PRODUCT_ID)


def _is_loader(device: Any) -> bool:
    return bool(device.bcdDevice == LOADER_RELEASE)


def _is_in_dfu_mode(device: Any) -> bool:
    try:
        return next(_dfu_interfaces(device), None) is not None
    except (usb.core.USBError, NotImplementedError):
        # without a driver its descriptors cannot be read; these numbers are given to nothing else
        return bool(device.idProduct == PRODUCT_ID) or _is_loader(device)


def _other_name(device: Any) -> str:
    """Say what a device is that is not in DFU mode; empty if it has nothing to do with it."""
    ids = f"{device.idVendor:04x}:{device.idProduct:04x}"
    try:
        if next(_interfaces(device, DFU_INTERFACE), None):
            return ""
        if next(_interfaces(device, RUN_TIME_INTERFACE), None):
            return f"{ids} (its application runs: set BOOT0 high and plug it in again)"
    except (usb.core.USBError, NotImplementedError):
        pass
    if device.idVendor != VENDOR_ID or device.idProduct == PRODUCT_ID:
        return ""
    return "ST-LINK (a debug probe)" if device.idProduct in DEBUG_PROBES else ids


def _dfu_interfaces(device: Any) -> Iterator[Any]:
    return _interfaces(device, DFU_INTERFACE)


def _interfaces(device: Any, wanted: tuple[int, int, int]) -> Iterator[Any]:
    for configuration in device:
        for interface in configuration:
            numbers = (
                interface.bInterfaceClass,
                interface.bInterfaceSubClass,
                interface.bInterfaceProtocol,
            )
            if numbers == wanted:
                yield interface


def _transfer_size(device: Any) -> int:
    """Read wTransferSize out of the configuration: asking for the descriptor hangs some ROMs."""
    for interface in _dfu_interfaces(device):
        extra = bytes(interface.extra_descriptors)
        while len(extra) >= 2 and extra[0] >= 2:
            if extra[1] == FUNCTIONAL_DESCRIPTOR and len(extra) >= 7:
                return int.from_bytes(extra[5:7], "little")
            extra = extra[extra[0] :]
    return ROM_TRANSFER_SIZE


def _string(device: Any, index: int) -> str:
    if not index:
        return ""
    # usb.util.get_string hides a missing permission behind a ValueError, usb.control.get_descriptor
    # refuses an answer without a single byte, which only means that there is no name
    value = STRING_DESCRIPTOR << 8 | index
    data = bytes(device.ctrl_transfer(DEVICE_IN, GET_DESCRIPTOR, value, ENGLISH_US, 255))
    return data[2 : data[0]].decode("utf-16-le", errors="replace") if data else ""


def _place(device: Any) -> tuple[int, ...]:
    # a platform that does not tell ports leaves only the address, which changes with every replug
    return (device.bus or 0, *(device.port_numbers or (device.address or 0,)))


def _key(device: Any) -> str:
    bus, *ports = _place(device)
    return f"usb:{bus}-{'.'.join(str(port) for port in ports)}"


def _default_backend() -> Any:
    try:
        import libusb_package
    except ImportError:
        backend = usb.backend.libusb1.get_backend()
    else:
        backend = libusb_package.get_libusb1_backend()
    if backend is None:
        raise usb.core.NoBackendError
    return backend
