"""Looks for what stands between a customer and an update: libusb, rights, cable, device, loader.

Promises: nothing on a device is changed; a check that cannot be done says so ("not known") and
never ends the others; every problem comes with what to do and the exit code of its error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from packager.dfu.advice import NO_DEVICE_DO, PERMISSION_DO
from packager.dfu.listing import Opener
from packager.dfu.replies import PROTECTED_DO, PROTECTED_FOUND
from packager.dfu.rom import RomVersion
from packager.dfu.status import (
    DeviceStatus,
    StagingState,
    read_status,
    status_as_dict,
)
from packager.dfu.usb import find_devices, find_others, libusb_version
from packager.errors import (
    DeviceError,
    NoDeviceError,
    PackagerError,
    ProtectedError,
    RefusedError,
    as_ours,
)
from packager.format import field_text, version_text
from packager.layout import Layout
from packager.records import InfoBlock

RULE_FOLDERS = (
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
)
UNPROTECTED = (
    "off (RDP level 0): whoever holds this device and a cable can read its application and its "
    "key; an update that comes in here is protected only against someone who has the file and no "
    "device"
)
PROTECTED_HERE = {
    1: "on (RDP level 1): no cable reads application or key out of the flash; a debugger still "
    "reads RAM while the loader works, which level 2 prevents",
    2: "on for good (RDP level 2): neither ROM bootloader nor debugger is there any more",
}
NOT_YET_PROTECTED_DO = (
    "if this is to ship, the maker sets the read-out protection: see what factory build prints"
)
LOCKED = "at RDP level 2 that is the only way to be seen here, or its application takes the update"
POWER_CYCLE_DO = "unplug the device, set BOOT0 low, plug it in again"
LOADER_CYCLE_DO = "unplug the device and plug it in again"


class Verdict(StrEnum):
    """What a check found."""

    OK = "ok"
    PROBLEM = "problem"
    UNKNOWN = "not known"


@dataclass(frozen=True)
class Check:
    """One thing looked at; ``exit_code`` is that of the error a problem would end a drop with."""

    name: str
    verdict: Verdict
    found: str
    do: str = ""
    device: str | None = None
    exit_code: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the check as plain values."""
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "found": self.found,
            "do": self.do or None,
            "device": self.device,
            "exit_code": self.exit_code,
        }


@dataclass(frozen=True)
class Examined:
    """A device with its checks and, if it could be read, everything it tells."""

    checks: tuple[Check, ...]
    status: dict[str, Any] | None = None


def examine_usb(system: str = sys.platform) -> list[Check]:
    """Check what does not depend on any device, and whether one is there."""
    libusb = _careful("libusb", lambda: Check("libusb", Verdict.OK, f"libusb {libusb_version()}"))
    if libusb.verdict is Verdict.PROBLEM:
        found = "without libusb nobody can look for devices"
        return [libusb, Check("devices", Verdict.UNKNOWN, found)]
    return [libusb, _rights(system), _careful("devices", _presence)]


def examine_device(where: str, opened: Opener, layout: Layout | None = None) -> Examined:
    """Check one device; whatever goes wrong is a check too."""
    try:
        with opened() as device:
            status = read_status(device, layout)
    except Exception as error:
        return Examined((_problem("access", as_ours(where, error), where),))
    return Examined(tuple(_checks_of(where, status)), status_as_dict(status))


def exit_code(checks: Sequence[Check]) -> int:
    """Return the exit code of the first problem, 0 if there is none."""
    return next((c.exit_code for c in checks if c.verdict is Verdict.PROBLEM), 0)


# -- the computer ---------------------------------------------------------------------------------


def _rights(system: str) -> Check:
    if system == "win32":
        return Check("rights", Verdict.OK, "Windows asks for a driver only, see 'access'")
    if not system.startswith("linux"):
        return Check("rights", Verdict.OK, f"{system} needs neither driver nor rule")
    if os.geteuid() == 0:
        return Check("rights", Verdict.OK, "you are root, who may use every device")
    rule = _udev_rule(RULE_FOLDERS)
    if rule:
        return Check("rights", Verdict.OK, f"udev rule {rule} names DFU devices")
    found = "no udev rule for 0483:df11 was found"
    return Check("rights", Verdict.UNKNOWN, found, f"if 'access' fails: {PERMISSION_DO}")


def _udev_rule(folders: Sequence[str]) -> Path | None:
    """Return a rule file that names the ROM's USB ids."""
    for folder in folders:
        for path in sorted(Path(folder).glob("*.rules")):
            try:
                text = path.read_text(encoding="utf-8", errors="replace").lower()
            except OSError:
                continue
            if any("0483" in line and "df11" in line for line in text.splitlines()):
                return path
    return None


def _presence() -> Check:
    keys = [device.key for device in find_devices()]
    if not keys:
        others = find_others()
        found = "no device in DFU mode (0483:df11)"
        if others:
            found += ", only " + "; ".join(others)
        do = f"{NO_DEVICE_DO}; {LOCKED}"
        return Check("devices", Verdict.PROBLEM, found, do, None, NoDeviceError.exit_code)
    if len(keys) == 1:
        return Check("devices", Verdict.OK, f"one in DFU mode: {keys[0]}")
    found = f"{len(keys)} in DFU mode: {', '.join(keys)}"
    do = "choose one with --device, or drop to every one with drop --all"
    return Check("devices", Verdict.OK, found, do)


# -- a device -------------------------------------------------------------------------------------


def _checks_of(where: str, status: DeviceStatus) -> Iterator[Check]:
    yield Check("access", Verdict.OK, "it can be opened and answers", "", where)
    if status.via_loader:
        yield from _own_door(where, status.rdp)
        yield from _contents(where, status)
        return
    yield _bootloader(where, status.rom)
    if status.protected:
        code = ProtectedError.exit_code
        yield Check("read protection", Verdict.PROBLEM, PROTECTED_FOUND, PROTECTED_DO, where, code)
        return
    yield Check("read protection", Verdict.OK, UNPROTECTED, "", where)
    found = "the ROM reports none even where there is one; a drop finds it by reading back"
    yield Check("write protection", Verdict.UNKNOWN, found, "", where)
    yield from _contents(where, status)


def _contents(where: str, status: DeviceStatus) -> Iterator[Check]:
    yield _loader(where, status.loader)
    if status.staging is not None:
        yield _staging(where, status)
        yield _installed(where, status)
        yield _refused(where, status)


def _own_door(where: str, rdp: int | None) -> Iterator[Check]:
    found = "the splitflash loader itself: it takes updates at every protection level"
    yield Check("bootloader", Verdict.OK, found, "", where)
    if rdp is None:
        yield Check("read protection", Verdict.UNKNOWN, "the loader does not tell", "", where)
    elif rdp == 0:
        yield Check("read protection", Verdict.OK, UNPROTECTED, NOT_YET_PROTECTED_DO, where)
    else:
        yield Check("read protection", Verdict.OK, PROTECTED_HERE[rdp], "", where)


def _cycle_do(status: DeviceStatus) -> str:
    return LOADER_CYCLE_DO if status.via_loader else POWER_CYCLE_DO


def _bootloader(where: str, rom: RomVersion) -> Check:
    if rom.id is None:
        found = "it does not tell its version, so splitflash waits and checks as for the worst one"
        return Check("bootloader", Verdict.UNKNOWN, found, "", where)
    found = f"ROM {rom.name}" + (f" (id 0x{rom.id:02X})" if "0x" not in rom.name else "")
    return Check(
        "bootloader", Verdict.OK, found + (f": {rom.remark}" if rom.remark else ""), "", where
    )


def _loader(where: str, loader: InfoBlock | None) -> Check:
    if loader is None:
        return Check(
            "loader",
            Verdict.PROBLEM,
            "no splitflash loader: an update would do nothing",
            "write the factory image of the product first",
            where,
            RefusedError.exit_code,
        )
    product = field_text(loader.product_name) or field_text(loader.product_id)
    found = f"splitflash {version_text(loader.loader_version)} for '{product}'"
    if loader.is_dev:
        found += "; a development loader, never to be shipped"
    return Check("loader", Verdict.OK, found, "", where)


def _staging(where: str, status: DeviceStatus) -> Check:
    staged = status.staged
    if staged is not None:
        found = f"update to version {version_text(staged.version)}, not installed yet"
        return Check(
            "staging", Verdict.OK, found, f"{_cycle_do(status)}: it installs itself", where
        )
    found = status.staging.value if status.staging else "nothing is known"
    do = "" if status.staging is StagingState.EMPTY else "drop an update, that erases it"
    return Check("staging", Verdict.OK, found, do, where)


def _installed(where: str, status: DeviceStatus) -> Check:
    if status.installing:
        version = version_text(status.installing.version)
        found = f"the installation of version {version} has begun and not ended"
        do = f"{_cycle_do(status)} and leave it alone: it goes on by itself; if not, drop again"
        return Check("installed", Verdict.PROBLEM, found, do, where, DeviceError.exit_code)
    if status.installed is None:
        found = "no record of an installed application"
        return Check("installed", Verdict.UNKNOWN, found, "drop an update", where)
    record = status.installed
    found = f"version {version_text(record.version)}, security counter {record.security_counter}"
    return Check("installed", Verdict.OK, found, "", where)


def _refused(where: str, status: DeviceStatus) -> Check:
    refused = status.refused
    if refused is None:
        return Check("last refusal", Verdict.OK, "none", "", where)
    found = f"version {version_text(refused.version)}: {refused.meaning}"
    code = RefusedError.exit_code
    return Check("last refusal", Verdict.PROBLEM, found, refused.do, where, code)


# -- helpers --------------------------------------------------------------------------------------


def _problem(name: str, error: PackagerError, device: str | None = None) -> Check:
    found = f"{error.found}, {error.expected}" if error.expected else error.found
    return Check(name, Verdict.PROBLEM, found, error.do, device, error.exit_code)


def _careful(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except PackagerError as error:
        return _problem(name, error)
    except Exception as error:
        found = f"{type(error).__name__}: {error}"
        return Check(name, Verdict.UNKNOWN, found, "report this, with the file of --report")
