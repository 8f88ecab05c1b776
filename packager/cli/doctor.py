"""``splitflash doctor``: why an update does not get into a device, and what to do."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from packager import __version__
from packager.cli.device import ANY_DEVICES, BOOT0, JSON, SIM, Door, door, doors
from packager.cli.output import output_option
from packager.cli.report import Report

if TYPE_CHECKING:
    from packager.dfu.doctor import Check, Examined

LIBRARIES = ("pyusb", "click", "construct", "cryptography", "libusb-package")


@click.command()
@ANY_DEVICES
@BOOT0
@JSON
@output_option(
    "--report",
    "report_path",
    metavar="FILE",
    help="Write everything found into a file for support; it holds no secret.",
)
def doctor(
    devices: tuple[str, ...], boot0: bool | None, as_json: bool, report_path: Path | None
) -> int:
    """Look for what stands between this computer, a device and an update; changes nothing.

    Every check says ok, problem or not known, and what to do. The exit code is 0 without a
    problem, else that of the first one, as drop would end with it.
    """
    from packager.dfu.doctor import examine_device, examine_usb, exit_code

    report = Report("doctor", as_json=as_json)
    with report.running() as end:
        checks = [] if _only_virtual(devices) else examine_usb()
        for check in checks:
            tell(report, check)
        examined = []
        for one in _there(devices, boot0):
            examined.append(examine_device(one.name, one.open))
            checks += examined[-1].checks
            for check in examined[-1].checks:
                tell(report, check)
        end.exit_code = exit_code(checks)
        if report_path:
            _write(report_path, checks, examined)
            report.say(f"{report_path}: written, it holds no secret")
    return end.exit_code


def _only_virtual(names: tuple[str, ...]) -> bool:
    return bool(names) and all(name.startswith(SIM) for name in names)


def _there(names: tuple[str, ...], boot0: bool | None) -> list[Door]:
    """Return the ways to the devices to look at; why there are none was told already."""
    try:
        return [door(name, boot0) for name in names] if names else doors(())
    except Exception:
        return []


def tell(report: Report, check: Check) -> None:
    """Say what a check found and what to do."""
    where = f"{check.device} " if check.device else ""
    lines = [f"{check.verdict.value:<9} {where}{check.name}: {check.found}"]
    if check.do:
        lines.append(f"{'':<9} -> {check.do}")
    report.info("check", check.as_dict(), lines, check.device)


def _write(path: Path, checks: list[Check], examined: list[Examined]) -> None:
    from packager.files import write_atomic

    content: dict[str, Any] = {
        "splitflash": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libraries": {name: _version(name) for name in LIBRARIES},
        "checks": [check.as_dict() for check in checks],
        "devices": [one.status for one in examined if one.status],
    }
    write_atomic(path, (json.dumps(content, indent=2) + "\n").encode())


def _version(library: str) -> str | None:
    try:
        return version(library)
    except ImportError:
        return None
