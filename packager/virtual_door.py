"""Brings a virtual board into DFU mode as a person does: BOOT0, its pin, two presses of reset."""

from __future__ import annotations

from packager.dfu.target import INFO_ADDRESS
from packager.errors import FormatError, NoDeviceError
from packager.format import ENTRY_DOUBLE_RESET, INFO_SIZE, PIN_NONE, Recovery
from packager.records import InfoBlock, parse_info
from packager.sim.board import Board

AT_ONCE = 1e-6
"""Seconds an application gets before reset is pressed again."""
HANGING = 600.0
"""Virtual seconds that a person waits for the watchdog of an application that hangs."""


def start_in_dfu(board: Board, where: str, *, boot0: bool | None = None) -> None:
    """Switch a board on so that it is on USB; without ``boot0`` in its loader, if that has a door.

    Raises:
        NoDeviceError: it is not on USB, and why.
    """
    info = _info_of(board)
    own = info is not None and info.recovery is Recovery.DFU
    if boot0 or (boot0 is None and not own):
        _with_boot0(board, where)
    elif info is None or not own:
        raise NoDeviceError(
            where, "no loader with a DFU of its own", "", "start it with --boot0 instead"
        )
    else:
        _in_the_loader(board, info, where)


def _with_boot0(board: Board, where: str) -> None:
    board.boot(boot0=True, limit_seconds=1.0)
    if board.rom is None:
        raise NoDeviceError(
            where,
            "BOOT0 is high and no ROM bootloader is there",
            "at RDP level 2, or with BOOT_CM7_ADD1 elsewhere, it never starts",
            "leave BOOT0 low: this product takes updates through its own loader (--no-boot0)",
        )


def _in_the_loader(board: Board, info: InfoBlock, where: str) -> None:
    pin = _pin_of(info)
    if pin is not None:
        name, level = pin
        board.pins[name] = level
        board.boot()
        board.pins[name] = None
    else:
        board.boot(app_seconds=AT_ONCE)
    if board.device is None and info.entry_flags & ENTRY_DOUBLE_RESET:
        board.press_reset()
    if board.device is None and info.watchdog_resets:
        board.boot(limit_seconds=HANGING, app_seconds=HANGING)
    if board.device is None:
        raise NoDeviceError(
            where,
            "its application runs, and nothing brought the loader's DFU up",
            "",
            "let the application call splitflash_enter_dfu()",
        )


def _pin_of(info: InfoBlock) -> tuple[str, bool] | None:
    if info.entry_pin == PIN_NONE:
        return None
    port = chr(ord("A") + (info.entry_pin >> 8 & 0xF))
    return f"P{port}{info.entry_pin & 0xF}", bool(info.entry_pin >> 16 & 1)


def _info_of(board: Board) -> InfoBlock | None:
    try:
        return parse_info(board.read(INFO_ADDRESS, INFO_SIZE))
    except FormatError:
        return None
