"""Turns what pyusb raises, on every system, into errors of ours with what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import usb.core

from packager.dfu.advice import BUSY_DO, DRIVER_DO, LIBUSB_DO, PERMISSION_DO
from packager.dfu.pipe import GoneError, StalledError
from packager.errors import DeviceError, DeviceTimeoutError, PermissionOrDriverError


@contextmanager
def our_errors(where: str) -> Iterator[None]:
    """Turn everything pyusb raises into an error a person can act on."""
    try:
        yield
    except usb.core.NoBackendError:
        raise PermissionOrDriverError(
            where, "libusb is missing or does not start", "", LIBUSB_DO
        ) from None
    except NotImplementedError:
        # what libusb answers on Windows for a device without a WinUSB driver
        raise PermissionOrDriverError(
            where, "the device has no driver we can use", "", DRIVER_DO
        ) from None
    except usb.core.USBTimeoutError as error:
        raise _timeout(where) from error
    except usb.core.USBError as error:
        raise _usb_error(where, error) from error


def _usb_error(where: str, error: Any) -> DeviceError:
    code = error.errno
    if code == errno.EPIPE:
        return StalledError(where, "the device refused a request", "", "repeat the command")
    if code in (errno.ENODEV, errno.EIO, errno.ENXIO, errno.ESHUTDOWN):
        return GoneError(
            where,
            "the device left the bus",
            "",
            "plug it in again (BOOT0 high) and repeat the command; nothing is lost",
        )
    if code in (errno.EACCES, errno.EPERM):
        return PermissionOrDriverError(where, "no permission for the device", "", PERMISSION_DO)
    if code == errno.EBUSY:
        return PermissionOrDriverError(
            where,
            "another program holds the device",
            "",
            BUSY_DO,
        )
    if code in (errno.ENOENT, errno.ENOSYS):
        return PermissionOrDriverError(where, "the device cannot be opened", "", DRIVER_DO)
    if code == errno.ETIMEDOUT:
        return _timeout(where)
    return DeviceError(
        where, f"USB error: {error.strerror or error}", "", "replug the device and try again"
    )


def _timeout(where: str) -> DeviceTimeoutError:
    return DeviceTimeoutError(
        where, "no answer in time", "", "plug the device in again and repeat the command"
    )
