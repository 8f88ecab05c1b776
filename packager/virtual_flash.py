"""Flashes files onto a virtual board, as a debugger or a production programmer would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from packager.errors import PackagerError
from packager.factory.file import FACTORY_LIMIT
from packager.files import read_file
from packager.hex_file import read_hex
from packager.image import elf_segments, load_image
from packager.layout import Layout
from packager.option_bytes import production_options
from packager.sim.board import Board


def flash_files(
    board: Board,
    layout: Layout,
    *,
    factory: Path | None = None,
    loader: Path | None = None,
    app: Path | None = None,
) -> None:
    """Flash a factory image, or a loader and perhaps an application beside it.

    Raises:
        PackagerError: neither or both, or a file that does not fit.
    """
    if (factory is None) == (loader is None):
        raise PackagerError(
            "virtual board",
            "nothing to boot from" if factory is None else "two loaders",
            "expected either a factory image or a loader",
            "give --factory or --loader",
        )
    pieces: dict[int, bytes] = {}
    if factory is not None:
        pieces.update(read_hex(read_file(factory, FACTORY_LIMIT), str(factory)))
    if loader is not None:
        pieces.update(elf_segments(loader))
    if app is not None:
        pieces[layout.app.start] = load_image(app, layout).data
    board.program(pieces)


def set_options(board: Board, layout: Layout) -> None:
    """Set the option bytes of production on a board, as a debugger would at level 0.

    All but the read-out protection: BOOT0 high still leads to the ROM bootloader.

    Raises:
        ProtectedError: the board is at another level.
    """
    with board.debugger() as debugger:
        debugger.read(layout.loader.start, 1)
    wanted, options = production_options(layout), board.flash.options
    options = options.with_brown_out_level(wanted.brown_out_level)
    options = options.with_watchdog(from_power_on=not wanted.software_watchdog)
    boot = wanted.boot0_high_at_first << 16 | wanted.boot0_low
    options = replace(options, boot=boot)
    board.flash.change_options(options.with_write_protection(1, set(wanted.protected_sectors)))
