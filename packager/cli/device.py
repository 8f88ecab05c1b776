"""``splitflash drop`` and ``splitflash status``: everything that talks to a device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from packager.chip import BOOT_ADDRESS
from packager.cli.progress import show_progress
from packager.dfu.protocol import DfuSe
from packager.dfu.replies import PROTECTED_DO
from packager.errors import PackagerError
from packager.layout import Layout, load_layout

_DEVICE = click.option(
    "--device",
    metavar="usb:BUS-PORT|sim:BOARD",
    envvar="SPLITFLASH_DEVICE",
    show_envvar=True,
    help="Which device, when there are several; sim: takes a virtual board from its file.",
)
_LAYOUT = click.option(
    "--layout",
    "layout_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Flash layout, for a device that has no loader yet (its loader knows it otherwise).",
)


@click.command()
@click.argument("update_path", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@_DEVICE
@_LAYOUT
@click.option(
    "--dry-run", is_flag=True, help="Show what would be erased and written; change nothing."
)
@click.option(
    "--leave", is_flag=True, help="Ask the device to restart afterwards (not every one does)."
)
def drop(
    update_path: Path, device: str | None, layout_path: Path | None, dry_run: bool, leave: bool
) -> None:
    """Bring an update into a device: compare, erase, write, read back.

    The device must be in its ROM bootloader: BOOT0 high, then plug it in. An interrupted drop is
    finished by dropping again.
    """
    from packager.dfu import staging
    from packager.update_file import default_stem, read_update_file

    update = read_update_file(update_path).data
    layout = _layout(layout_path)
    with _opened(device) as dfu:
        with show_progress(dfu.clock) as progress:
            plan = staging.prepare_drop(update, dfu, layout, progress)
            if not dry_run:
                staging.run_plan(plan, dfu, progress)
        if dry_run:
            for step in plan.steps:
                click.echo(str(step))
            click.echo("nothing was changed" if plan.steps else "the update is staged already")
            return
        done = "staged and read back" if plan.steps else "was staged already"
        click.echo(f"{dfu.where}: {default_stem(update)} {done}")
        if leave:
            dfu.leave(BOOT_ADDRESS)
    if leave:
        click.echo("the device was told to restart; if it does not come back:")
    click.echo(
        "unplug the device, set BOOT0 low, plug it in again; its loader then checks the update"
    )


@click.command()
@_DEVICE
@_LAYOUT
@click.option("--json", "as_json", is_flag=True, help="One JSON object for machines.")
def status(device: str | None, layout_path: Path | None, as_json: bool) -> None:
    """Show what a device holds: loader, staged update, installed app, last refusal."""
    from packager.dfu.status import read_status, status_as_dict

    layout = _layout(layout_path)
    with _opened(device) as dfu:
        read = read_status(dfu, layout)
    values = status_as_dict(read)
    if as_json:
        click.echo(json.dumps(values, indent=2))
        return
    for line in _lines(values):
        click.echo(line)
    if read.protected:
        click.echo(PROTECTED_DO)
    elif read.loader is None:
        click.echo("no splitflash loader on this device")


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


def _layout(path: Path | None) -> Layout | None:
    return load_layout(path) if path else None


@contextmanager
def _opened(where: str | None) -> Iterator[DfuSe]:
    """Open the device a ``--device`` option names."""
    from packager.dfu.usb import open_device

    kind, _, rest = (where or "usb:").partition(":")
    if kind == "sim" and rest:
        with _virtual(Path(rest)) as dfu:
            yield dfu
    elif kind == "usb" and (rest or where is None):
        with open_device(where) as dfu:
            yield dfu
    else:
        raise click.BadParameter(
            f"'{where}' is neither usb:BUS-PORT nor sim:BOARD", param_hint="--device"
        )


@contextmanager
def _virtual(path: Path) -> Iterator[DfuSe]:
    """Start a virtual board with BOOT0 high; what was done to it is kept, also after an error."""
    try:
        from packager.sim.board import Board
    except ImportError as error:
        raise PackagerError(
            f"sim:{path}",
            f"virtual boards need {error.name}",
            "which is not installed",
            "run: pip install 'splitflash[sim]'",
        ) from error
    from packager.dfu.usb import open_device

    board = Board.load(path)
    board.boot(boot0=True)
    try:
        with open_device(backend=board.usb_backend(), clock=board.clock) as dfu:
            yield dfu
    finally:
        board.save(path)
