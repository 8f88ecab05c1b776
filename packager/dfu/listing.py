"""Who is on the bus: one line for each device, and no guessing which one is meant."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from packager.dfu.protocol import DfuSe
from packager.dfu.status import DeviceStatus, identify
from packager.dfu.usb import find_devices, open_device
from packager.errors import PackagerError, SeveralDevicesError
from packager.format import field_text, version_text

Opener = Callable[[], AbstractContextManager[DfuSe]]


@dataclass(frozen=True)
class Listed:
    """A device and who it is, or why it does not tell."""

    where: str
    status: DeviceStatus | None = None
    error: PackagerError | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.who}"

    @property
    def who(self) -> str:
        """Product, loader, ROM and protection in one line."""
        if self.status is None:
            found = self.error.found if self.error else "nothing is known"
            return f"cannot be asked: {found}"
        rom = f"ROM {self.status.rom.name}"
        if self.status.via_loader:
            rom = "on USB itself"
        if self.status.protected:
            return f"read-protected, {rom}"
        loader = self.status.loader
        if loader is None:
            return f"no splitflash loader, {rom}, not read-protected"
        product = field_text(loader.product_name) or field_text(loader.product_id)
        version = version_text(loader.loader_version)
        kind = "development loader" if loader.is_dev else "loader"
        return f"{product}, {kind} {version}, {rom}, {protection_text(self.status.rdp)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the same as plain values; None for what is not known."""
        status = self.status
        loader = status.loader if status else None
        return {
            "device": self.where,
            "product_id": loader and field_text(loader.product_id),
            "product_name": loader and field_text(loader.product_name),
            "loader": loader and version_text(loader.loader_version),
            "bootloader": status and ("splitflash loader" if status.via_loader else "ROM"),
            "rom": None if status is None or status.via_loader else status.rom.name,
            "read_protected": status and (status.protected or bool(status.rdp)),
            "error": str(self.error) if self.error else None,
        }


def protection_text(rdp: int | None) -> str:
    """Say a read-out protection level in words."""
    if rdp is None:
        return "protection not known"
    return f"read-protected (RDP level {rdp})" if rdp else "not read-protected"


def look_at(where: str, opened: Opener) -> Listed:
    """Ask one device who it is; one that cannot be asked is listed with its error."""
    try:
        with opened() as device:
            return Listed(where, identify(device))
    except PackagerError as error:
        return Listed(where, error=error)


def open_chosen(key: str | None) -> DfuSe:
    """Open the device at ``key``, or the only one; several are named with who they are.

    Raises:
        SeveralDevicesError: no key was given and several are there.
        DeviceError: see :func:`packager.dfu.usb.open_device`.
    """
    try:
        return open_device(key)
    except SeveralDevicesError as error:
        keys = [device.key for device in find_devices()]
        if len(keys) > 1:
            raise _several(keys) from error
    return open_device(key)  # meanwhile others were unplugged, or all of them


def _several(keys: list[str]) -> SeveralDevicesError:
    listed = [look_at(key, lambda key=key: open_device(key)) for key in keys]  # type: ignore[misc]
    return SeveralDevicesError(
        "USB",
        f"{len(listed)} devices in DFU mode: " + "; ".join(str(device) for device in listed),
        "we do not guess",
        f"choose one, for example --device {keys[0]}",
    )
