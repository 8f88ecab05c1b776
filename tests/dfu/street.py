"""Several virtual boards on one virtual USB, in front of the real command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dfu import products
from dfu.products import STAGING

from packager.chip import CHIPS, SECTOR_SIZE
from packager.dfu import usb as our_usb
from packager.sim.board import Board


def board(rom_id: int = 0x92, *, rdp: int | None = None, name: bytes = b"Pump") -> Board:
    """A board with a loader, an installed app, and an old update in staging."""
    made = Board.new(CHIPS["stm32h743xi"], rom_id=rom_id)
    made.program(
        {
            products.INFO_ADDRESS: products.info_bytes(product_name=name.ljust(32, b"\0")),
            products.MARKS.start: products.record(),
            STAGING.start: b"old" * 200,
            STAGING.start + SECTOR_SIZE: b"old" * 200,
        }
    )
    if rdp is not None:
        made.flash.options = made.flash.options.with_rdp(rdp)
    return made


def plug_in(monkeypatch: pytest.MonkeyPatch, *boards: Board) -> None:
    """Put boards on USB, sitting in their ROM: usb:1-1, usb:1-2, ..."""
    for one in boards:
        one.boot(boot0=True)
    first, *others = boards
    backend = first.usb_backend(*others)
    monkeypatch.setattr(our_usb, "_default_backend", lambda: backend)


def saved(folder: Path, *boards: Board) -> list[str]:
    """Keep boards in files; return their names for ``--device``."""
    names = []
    for number, one in enumerate(boards):
        path = folder / f"{number}.board"
        one.save(path)
        names.append(f"sim:{path}")
    return names


def lines(text: str) -> list[dict[str, Any]]:
    """Read JSON Lines."""
    return [json.loads(line) for line in text.splitlines()]
