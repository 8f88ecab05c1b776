"""A product whose loader is on USB itself, its virtual board, and a small DfuSe host of its own."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property

from workshop import Workshop

from packager.dfuse_file import write_dfuse
from packager.sim.board import Board, Outcome
from packager.sim.core_usb import CoreUsb
from packager.sim.flash import FlashSnapshot

LAYOUT = "h743_protected"
SIZE = 6000
OUT, IN = 0x21, 0xA1
DNLOAD, UPLOAD, GETSTATUS, CLRSTATUS, GETSTATE, ABORT = 1, 2, 3, 4, 5, 6
IDLE, SYNC, BUSY, DNLOAD_IDLE, MANIFEST, UPLOAD_IDLE, ERROR = 2, 3, 4, 5, 7, 9, 10
AT_ONCE = 1e-6
"""Seconds the application runs before the reset button is pressed."""


class Product:
    """One product: version 1 on the board, an update to version 2."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self.layout = shop.layout
        self.old = shop.image(SIZE, seed=1)
        self.new = shop.image(SIZE, seed=2)

    @cached_property
    def update(self) -> bytes:
        """The update to version 2."""
        return self.shop.update(self.new)

    @property
    def dfuse(self) -> bytes:
        """The same as a .dfu file."""
        return write_dfuse(self.layout.staging.start, self.update)

    @cached_property
    def _fresh(self) -> FlashSnapshot:
        return self.shop.board(self.old).snapshot()

    def board(self, level: int = 0) -> Board:
        """Return a board with version 1, protected, without power."""
        board = Board.new(self.layout.chip, rom_id=0x92)
        board.restore(self._fresh)
        board.protect(level)
        return board

    def in_dfu(self, level: int = 0, **boot: str) -> Board:
        """Return a board that waits in its loader's DFU, by two presses of its reset button."""
        board = self.board(level)
        self.enter(board, **boot)
        return board

    def enter(self, board: Board, **boot: str) -> CoreUsb:
        """Switch a board on and press reset; return its device."""
        assert board.boot(app_seconds=AT_ONCE, **boot).outcome is Outcome.APP_RUNS  # type: ignore[arg-type]
        report = board.press_reset()
        assert report.outcome is Outcome.STAYS_IN_DFU, report
        return device_of(board)

    def runs(self, board: Board) -> bytes | None:
        """Switch a board off and on; return the image that runs, if one does."""
        if board.boot(strict=False).outcome is not Outcome.APP_RUNS:
            return None
        return next(image for image in (self.old, self.new) if self.shop.app_is(board, image))

    def outside(self, board: Board) -> dict[str, bytes]:
        """Return all flash that no host may change."""
        staging = self.layout.staging
        first, second = board.flash.banks
        at = staging.start - first.span.start
        rest = bytes(first.content[:at] + first.content[at + staging.size :])
        assert first.span.contains(staging.start, staging.size)
        words = bytes(first.states[: at // 32] + first.states[(at + staging.size) // 32 :])
        return {"bank 1": rest + words, "bank 2": bytes(second.content + second.states)}


def device_of(board: Board) -> CoreUsb:
    """Return the loader's device."""
    device = board.device
    assert isinstance(device, CoreUsb)
    return device


@dataclass
class Reply:
    """What GETSTATUS says."""

    status: int
    poll: int
    state: int


class Host:
    """Sends DfuSe requests and keeps to bwPollTimeout, not more."""

    def __init__(self, device: CoreUsb) -> None:
        self.device = device

    def status(self) -> Reply:
        """GETSTATUS."""
        raw = self.device.control(IN, GETSTATUS, 0, 0, 6)
        poll = int.from_bytes(raw[1:4], "little")
        return Reply(raw[0], poll, raw[4])

    def wait(self) -> Reply:
        """Ask until it is no longer busy."""
        reply = self.status()
        while reply.state == BUSY:
            self.device.clock.sleep(reply.poll / 1000)
            reply = self.status()
        return reply

    def download(self, block: int, data: bytes) -> Reply:
        """DNLOAD and its statuses."""
        self.device.control(OUT, DNLOAD, block, 0, data)
        return self.wait()

    def command(self, code: int, address: int) -> Reply:
        """Set Address (0x21) or erase (0x41)."""
        return self.download(0, struct.pack("<BI", code, address))

    def upload(self, address: int, size: int) -> bytes:
        """Read a block."""
        self.to_idle()
        assert self.command(0x21, address).status == 0
        self.to_idle()
        return self.device.control(IN, UPLOAD, 2, 0, size)

    def to_idle(self) -> None:
        """Come to dfuIDLE from anywhere."""
        reply = self.wait()
        self.device.control(OUT, CLRSTATUS if reply.state == ERROR else ABORT, 0, 0, b"")
        assert self.status().state == IDLE

    def drop(self, start: int, update: bytes) -> None:
        """Erase the first sector and write an update."""
        self.to_idle()
        assert self.command(0x41, start).status == 0
        assert self.command(0x21, start).status == 0
        for at in range(0, len(update), 1024):
            reply = self.download(2 + at // 1024, update[at : at + 1024])
            assert (reply.status, reply.state) == (0, DNLOAD_IDLE), at

    def leave(self) -> Reply:
        """Tell it to go: an empty DNLOAD and one GETSTATUS."""
        self.to_idle()
        self.device.control(OUT, DNLOAD, 0, 0, b"")
        return self.status()
