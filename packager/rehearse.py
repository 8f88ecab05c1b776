"""Rehearses on a virtual board what a device will do: drop, status, and a loader's own verdict."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packager.chip import BOOT_ADDRESS, CHIPS, Chip
from packager.dfu.pipe import Progress, silent
from packager.dfu.protocol import DfuSe
from packager.dfu.staging import prepare_drop, run_plan
from packager.dfu.status import DeviceStatus, read_status
from packager.dfu.usb import open_device
from packager.errors import FormatError, RefusedError
from packager.format import version_text
from packager.layout import Layout
from packager.loader_file import read_loader
from packager.records import InfoBlock
from packager.sim.board import Board
from packager.update import header_number, update_id

VERDICT_LIMIT_SECONDS = 120.0
"""Virtual seconds a loader may take: eight sectors at the datasheet's worst, several times over."""


@contextmanager
def in_rom(board: Board) -> Iterator[DfuSe]:
    """Power the board on with BOOT0 and hold a DfuSe connection to its ROM."""
    board.boot(boot0=True)
    device = open_device(backend=board.usb_backend(), clock=board.clock)
    try:
        yield device
    finally:
        device.close()
        board.power_off()


def drop(board: Board, update: bytes, progress: Progress = silent) -> None:
    """Drop an update over the board's ROM DfuSe, as a customer would, and switch it off."""
    with in_rom(board) as device:
        drop_over(device, update, progress)


def drop_over(device: DfuSe, update: bytes, progress: Progress = silent) -> None:
    """Drop an update over a connection that is open already."""
    run_plan(prepare_drop(update, device, progress=progress), device, progress)


def status(board: Board, layout: Layout | None = None) -> DeviceStatus:
    """Read what the board says of itself over its ROM DfuSe, and switch it off."""
    with in_rom(board) as device:
        return read_status(device, layout)


def verify_with_loader(update: bytes, loader_elf: Path) -> str:
    """Let a loader judge an update on a virtual board; return what it did, in one sentence.

    Raises:
        RefusedError: the loader refuses the update, with the reason it recorded.
        FormatError: the file is no loader, or is for a chip unknown here.
    """
    loader = read_loader(loader_elf)
    board = Board.new(chip_of(loader.info, loader.name))
    board.program({BOOT_ADDRESS: loader.data, loader.info.staging.start: update})
    report = board.boot(limit_seconds=VERDICT_LIMIT_SECONDS)
    found = status(board)
    installed = found.installed
    if installed is not None and installed.update_id == update_id(update):
        seconds = sum(report.seconds.values())
        return (
            f"{loader_elf.name} installs version {version_text(installed.version)}"
            f" in {seconds:.1f} s of the device's time, {len(report.operations)} flash operations"
        )
    refused = found.refused
    if refused is None:
        version = version_text(header_number(update, "version"))
        raise RefusedError(
            str(loader_elf),
            f"did not install version {version} ({report.outcome.value})",
            "expected an installed record",
            "pack the update for the layout this loader was built for",
        )
    raise RefusedError(str(loader_elf), f"refuses the update: {refused.meaning}", "", refused.do)


def chip_of(info: InfoBlock, where: str) -> Chip:
    """Return the chip an info block names.

    Raises:
        FormatError: it is unknown here.
    """
    for chip in CHIPS.values():
        if chip.chip_id == info.chip:
            return chip
    raise FormatError(where, f"chip 0x{info.chip:08X}", "a known chip", "update splitflash")
