"""Which device a command talks to: ``--device``, several of them, or the only one there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from packager.errors import NoDeviceError, PackagerError

if TYPE_CHECKING:
    from packager.dfu.listing import Opener
    from packager.dfu.protocol import DfuSe
    from packager.layout import Layout


SIM = "sim:"
"""What the name of a virtual board begins with; its file follows."""


class DeviceName(click.ParamType):  # type: ignore[type-arg]
    """``usb:BUS-PORT`` or ``sim:BOARD``."""

    name = "device"
    envvar_list_splitter = ","

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See that it is one of the two."""
        kind, _, rest = value.partition(":")
        if kind not in ("usb", "sim") or not rest:
            self.fail(f"'{value}' is neither usb:BUS-PORT nor sim:BOARD", param, ctx)
        return value


_HELP = (
    "Which device, when there are several; sim: takes a virtual board from its file and powers it"
    " on: a loader that is started installs what is staged, as at every start."
)
ONE_DEVICE = click.option(
    "--device",
    type=DeviceName(),
    metavar="usb:BUS-PORT|sim:BOARD",
    envvar="SPLITFLASH_DEVICE",
    show_envvar=True,
    help=_HELP,
)
ANY_DEVICES = click.option(
    "--device",
    "devices",
    type=DeviceName(),
    multiple=True,
    metavar="usb:BUS-PORT|sim:BOARD",
    envvar="SPLITFLASH_DEVICE",
    show_envvar=True,
    help=f"{_HELP} May be given several times; commas in the variable.",
)
DEVICE_LAYOUT = click.option(
    "--layout",
    "layout_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Flash layout, for a device that has no loader yet (its loader knows it otherwise). It"
    " vouches for this device, so the environment does not stand in for it.",
)
BOOT0 = click.option(
    "--boot0/--no-boot0",
    default=None,
    help="How a virtual board is started: with BOOT0 high in its ROM bootloader, or in its loader's"
    " own DFU. Left out: in the loader's, if it has one.",
)
JSON = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="JSON Lines for machines: one object a line, the last one with the exit code.",
)


@dataclass(frozen=True)
class Door:
    """A device by name, and how to open it."""

    name: str
    open: Opener


def door(name: str | None, boot0: bool | None = None) -> Door:
    """Return the way to one device; no name stands for the only one on USB."""
    if name is not None and name.startswith(SIM):
        return Door(name, partial(_virtual, Path(name.removeprefix(SIM)), boot0))
    return Door(name or "usb", partial(_real, name))


def doors(names: tuple[str, ...], boot0: bool | None = None) -> list[Door]:
    """Return the ways to all named devices, or to every one on USB if none is named.

    Raises:
        NoDeviceError: none is named and none is there.
    """
    from packager.dfu.advice import NO_DEVICE_DO
    from packager.dfu.usb import find_devices

    chosen = names or tuple(device.key for device in find_devices())
    if not chosen:
        raise NoDeviceError("USB", "no device in DFU mode found", "", NO_DEVICE_DO)
    return [door(name, boot0) for name in dict.fromkeys(chosen)]


def device_layout(path: Path | None) -> Layout | None:
    """Read the layout of ``--layout``, if there is one."""
    from packager.layout import load_layout

    return load_layout(path) if path else None


@contextmanager
def _real(name: str | None) -> Iterator[DfuSe]:
    from packager.dfu.listing import open_chosen

    with open_chosen(name) as dfu:
        yield dfu


@contextmanager
def _virtual(path: Path, boot0: bool | None) -> Iterator[DfuSe]:
    """Start a virtual board in DFU mode; what was done to it is kept, also after an error."""
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
    from packager.virtual_door import start_in_dfu

    board = Board.load(path)
    try:
        start_in_dfu(board, f"sim:{path}", boot0=boot0)
        backend = board.usb_backend()
        with open_device(backend=backend, clock=board.clock, name=f"sim:{path}") as dfu:
            yield dfu
    finally:
        board.power_off()
        board.save(path)
