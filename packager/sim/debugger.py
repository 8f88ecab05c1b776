"""A debugger at the SWD pins, and what read-out protection leaves it (RM0433 4.5)."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from packager.errors import PackagerError, ProtectedError
from packager.sim.flash import Flash
from packager.sim.options import RDP_LEVEL_0, RDP_LEVEL_1, RDP_LEVEL_2
from packager.sim.peripherals import Peripherals
from packager.sim.ram import BKPSRAM, Rams

if TYPE_CHECKING:
    from packager.sim.board import Board

_BYTES = (RDP_LEVEL_0, RDP_LEVEL_1, RDP_LEVEL_2)


def change_level(flash: Flash, rams: Rams, peripherals: Peripherals, level: int) -> None:
    """Program the RDP byte; what the chip erases on the way to level 0 is erased."""
    if level not in (0, 1, 2):
        raise PackagerError(f"RDP level {level}", "there is no such level", "expected 0, 1 or 2")
    current = flash.options.rdp_level
    if current == 2 and level != 2:
        raise ProtectedError(
            "virtual board",
            "it is at RDP level 2",
            "which is final: its option bytes cannot be changed any more",
            "make a new board",
        )
    if level == current:
        return
    flash.change_options(flash.options.with_rdp(_BYTES[level]))
    if level == 0:
        rams.wipe(BKPSRAM)
        peripherals.forget_backup()


class Debugger:
    """Attached from the moment it is made; a context manager that detaches."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._level = board.flash.options.rdp_level
        if self._level == 2:
            raise ProtectedError(
                "debugger", "the chip is at RDP level 2", "its debug port is closed for good"
            )
        board.debugger_attached = True
        if self._level == 1:
            board.flash.intrusion = True

    def __enter__(self) -> Debugger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.detach()

    def detach(self) -> None:
        """Go away; what level 1 has closed stays closed until the power is switched."""
        self._board.debugger_attached = False

    def read(self, address: int, size: int) -> bytes:
        """Read memory: at level 1 RAM only, as it is at this moment, secrets included."""
        found = self._board.rams.read(address, size)
        if found is not None:
            return found
        self._must_be_open(address)
        return self._board.flash.peek(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Write RAM, or at level 0 flash: the sectors touched are erased first."""
        if not self._board.rams.write(address, data):
            self._must_be_open(address)
            self._board.program({address: data})

    def protect(self, level: int) -> None:
        """Change the protection level; the way down erases the chip."""
        self._board.protect(level)
        self._level = level

    def _must_be_open(self, address: int) -> None:
        if self._level:
            raise ProtectedError(
                f"0x{address:08X}",
                f"the debugger gets a bus error, the chip is at RDP level {self._level}",
                "only RAM can be read there",
                "level 0 opens it and erases the chip",
            )
