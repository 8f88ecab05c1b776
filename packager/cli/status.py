"""``splitflash devices`` and ``splitflash status``: who is there, and what a device holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from packager.cli.device import (
    ANY_DEVICES,
    BOOT0,
    DEVICE_LAYOUT,
    JSON,
    ONE_DEVICE,
    device_layout,
    door,
    doors,
)
from packager.cli.report import Report


@click.command()
@ANY_DEVICES
@BOOT0
@JSON
def devices(devices: tuple[str, ...], boot0: bool | None, as_json: bool) -> int:
    """List the devices in DFU mode: where, product, loader and ROM version, protection.

    Nothing is changed on any of them. Without --device, everything on USB is listed. The exit
    code is 11 when there is nothing, and that of the first device that could not be asked.
    """
    from packager.dfu.listing import look_at

    report = Report("devices", as_json=as_json)
    with report.running() as end:
        for one in doors(devices, boot0):
            listed = look_at(one.name, one.open)
            report.info("identity", listed.as_dict(), [str(listed)], one.name)
            if listed.error and not end.exit_code:
                end.exit_code = listed.error.exit_code
    return end.exit_code


@click.command()
@ONE_DEVICE
@DEVICE_LAYOUT
@BOOT0
@JSON
def status(device: str | None, layout_path: Path | None, boot0: bool | None, as_json: bool) -> None:
    """Show what a device holds: loader, staged update, installed app, last refusal.

    Over the ROM bootloader the whole application is read and compared with its record, in some
    seconds: that shows whether anything changed it. The loader's own DFU does not let it be read.
    """
    from packager.dfu.replies import PROTECTED_DO
    from packager.dfu.status import read_app, read_status, status_as_dict

    report = Report("status", as_json=as_json)
    with report.running():
        layout = device_layout(layout_path)
        with door(device, boot0).open() as dfu:
            read = read_status(dfu, layout)
            with report.progress(read.where, dfu.clock) as progress:
                read = read_app(dfu, read, layout, progress)
        values = status_as_dict(read)
        report.info("status", values, _lines(values), read.where)
        if read.protected:
            report.say(PROTECTED_DO, read.where)
        elif read.loader is None:
            report.say("no splitflash loader on this device", read.where)


def _lines(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _lines(value, f"{name}.")
        elif isinstance(value, list):
            yield f"{name}: {', '.join(value) or 'none'}"
        elif isinstance(value, bool):
            yield f"{name}: {'yes' if value else 'no'}"
        else:
            yield f"{name}: {'none' if value is None else value}"
