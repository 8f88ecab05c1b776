"""Flashes files onto a virtual board, as a debugger or a production programmer would."""

from __future__ import annotations

from pathlib import Path

from packager.errors import PackagerError
from packager.files import read_file
from packager.hex_file import read_hex
from packager.image import elf_segments, load_image
from packager.layout import Layout
from packager.sim.board import Board

FACTORY_LIMIT = 8 << 20
"""Bytes: 2 MiB of flash as Intel HEX is 5.6 MiB."""


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
