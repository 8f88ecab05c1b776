"""A product in a customer's hands: its board, its update, and what a power cycle shows."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cached_property
from typing import Any

from workshop import Workshop, runs

from packager.dfuse_file import write_dfuse
from packager.keys import load_recipients, load_signing_key
from packager.sim.board import Board
from packager.sim.flash import FlashSnapshot
from packager.sim.rom import Hung
from packager.update import build_update

SIZE = 6000
"""Bytes of both images: some blocks, one sector."""
OLD, NEW, NEITHER = "v1", "v2", "dead"


class Product:
    """What one layout's product has: a loader, an application v1 on the board, an update to v2."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self.layout = shop.layout
        self.old = shop.image(SIZE, seed=1)
        self.new = shop.image(SIZE, seed=2)
        self._booted: dict[bytes, tuple[str, FlashSnapshot]] = {}

    @cached_property
    def update(self) -> bytes:
        """The update to v2."""
        return self.shop.update(self.new)

    @cached_property
    def foreign_update(self) -> bytes:
        """An update for the same chip and areas, but another product."""
        other = replace(self.layout, product_id="another")
        signing, recipients = (
            load_signing_key(self.shop.keys, None),
            load_recipients(self.shop.keys),
        )
        return build_update(self.new, other, signing, recipients, 0x02000000, 1)

    @property
    def staging(self) -> str:
        """Where a raw update goes, as dfu-util wants it."""
        return f"0x{self.layout.staging.start:08X}"

    def dfuse(self, update: bytes) -> bytes:
        """Return an update as a .dfu file."""
        return write_dfuse(self.layout.staging.start, update)

    @cached_property
    def _factory_fresh(self) -> FlashSnapshot:
        return self.shop.board(self.old).snapshot()

    def board(self, rom_id: int = 0x92, *, protected: bool = False) -> Board:
        """Return a board with v1 that sits in its ROM."""
        board = Board.new(self.layout.chip, rom_id=rom_id)
        board.restore(self._factory_fresh)
        if protected:
            board.flash.options = board.flash.options.with_rdp(0x55)
        board.boot(boot0=True)
        return board

    def power_cycle(self, board: Board) -> str:
        """Unplug, BOOT0 off, plug in again: say which application runs.

        What a boot makes of a flash is kept: one that is the same bit for bit is booted once only.
        """
        board.power_off()
        before = _digest(board.snapshot())
        if before not in self._booted:
            report = board.boot(strict=False)
            images = ((OLD, self.old), (NEW, self.new))
            found = [name for name, image in images if self.shop.app_is(board, image)]
            self._booted[before] = found[0] if runs(report) and found else NEITHER, board.snapshot()
        verdict, after = self._booted[before]
        board.restore(after)
        return verdict


def _digest(flash: FlashSnapshot) -> bytes:
    whole = hashlib.sha256(repr(flash.options).encode())
    for bank in flash.banks:
        whole.update(bank.content + bank.states + repr(sorted(bank.weak.items())).encode())
    return whole.digest()


def stop_answering(board: Board, transfer: int) -> None:
    """Let the ROM of a board hang from a transfer on, counted from now."""
    rom = board.rom
    assert rom is not None
    control, answers = rom.control, iter(range(1, transfer))

    def answer(*arguments: Any) -> bytes:
        if next(answers, None) is None:
            raise Hung
        return control(*arguments)

    rom.control = answer  # type: ignore[method-assign]
