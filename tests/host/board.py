"""A virtual board whose processor is this machine: same flash, same power switch, no emulation.

Whatever works on :class:`~packager.sim.board.Board` works here, a thousand times faster. Only the
loader runs; what would be the application is where the boot ends.
"""

from __future__ import annotations

import _ctypes
import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from packager.chip import Chip
from packager.errors import SimulationFault
from packager.records import ResultRecord, parse_result
from packager.sim.board import Board, BootReport, Outcome
from packager.sim.cells import HEALTHY_BELOW, Word
from packager.sim.operations import Cut, FlashOp, PowerCut

STEPS = 4_000_000
"""Reads, operations and feedings of the watchdog that a boot may take; an install takes 10 000."""
RESETS_BEFORE_PARKING = 3
_APP, _ROM, _PARKED, _RESET, _CUT, _HANG, _BAD_READ, _STALE = range(1, 9)
_OK, _CORRECTED, _POISONED, _FAILED, _POWER_CUT = range(5)
_OUTCOMES = {
    _APP: Outcome.APP_RUNS,
    _ROM: Outcome.STAYS_IN_ROM,
    _PARKED: Outcome.STAYS_PARKED,
    _CUT: Outcome.POWER_CUT,
    _HANG: Outcome.TIME_UP,
}
_SENSE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint32)
_PROGRAM = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p)
_ERASE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint32)


class _HostBank(ctypes.Structure):
    _fields_ = (
        ("content", ctypes.c_void_p),
        ("states", ctypes.c_void_p),
        ("start", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
    )


class _Host(ctypes.Structure):
    _fields_ = (
        ("banks", _HostBank * 2),
        ("sense", _SENSE),
        ("program", _PROGRAM),
        ("erase", _ERASE),
        ("steps_left", ctypes.c_uint64),
        ("flash_kib", ctypes.c_uint32),
        ("is_unprotected", ctypes.c_uint32),
        ("entry", ctypes.c_uint32),
        ("result", ctypes.c_uint8 * 64),
    )


class HostBoard(Board):
    """A board that boots the shared library ``library`` instead of what its flash holds."""

    def __init__(self, chip: Chip, library: Path, *, seed: int = 0) -> None:
        super().__init__(chip, seed=seed)
        self.library = library
        self.result: ResultRecord | None = None
        """What the loader left for the application at the last boot."""
        self.steps = 0
        """Steps the last boot took."""
        self._error: BaseException | None = None
        self._host = _Host()
        self._host.sense = _SENSE(self._sense)
        self._host.program = _PROGRAM(self._program)
        self._host.erase = _ERASE(self._erase)
        for shared, cells in zip(self._host.banks, self.flash.banks, strict=True):
            shared.content = _address_of(cells.content)
            shared.states = _address_of(cells.states)
            shared.start, shared.size = cells.span

    def boot(
        self,
        *,
        boot0: bool = False,
        limit_seconds: float = 600.0,
        app_seconds: float = 0.02,
        cut: Cut | str | None = None,
        on_operation: Callable[[FlashOp, Board], None] | None = None,
        count: bool = False,
        strict: bool = True,
    ) -> BootReport:
        """Do what :meth:`Board.boot` does; only ``boot0``, ``cut`` and ``on_operation`` matter."""
        if boot0:
            return super().boot(boot0=True, cut=cut, on_operation=on_operation)
        self.power_off()
        self.flash.power_on(Cut.parse(cut) if isinstance(cut, str) else cut)
        self.flash.on_operation = None
        if on_operation is not None:
            self.flash.on_operation = lambda op: on_operation(op, self)
        resets: list[str] = []
        end = self._run_loader()
        while end == _RESET and len(resets) < RESETS_BEFORE_PARKING:
            resets.append("reset")
            end = self._run_loader()
        outcome = _OUTCOMES.get(_PARKED if end == _RESET else end)
        if outcome is None:
            what = "a read where no flash is" if end == _BAD_READ else "a library with old statics"
            raise SimulationFault("host build", what, "expected neither", "look into flash_host.c")
        if outcome is Outcome.STAYS_IN_ROM:
            self._sit_in_rom()
        return BootReport(
            outcome=outcome,
            uart="",
            operations=list(self.flash.operations),
            seconds={},
            instructions=None,
            resets=resets,
            cut=self.flash.cut if outcome is Outcome.POWER_CUT else None,
        )

    def _run_loader(self) -> int:
        host = self._host
        host.steps_left = STEPS
        host.flash_kib = self.chip.flash_kib
        host.is_unprotected = self.flash.options.rdp_level == 0
        ctypes.memset(host.result, 0, 64)
        self._error = None
        # closing it unloads it, so that the next boot finds its statics as they are linked
        library: Any = ctypes.CDLL(str(self.library))
        end = int(library.host_boot(ctypes.byref(host)))
        _ctypes.dlclose(library._handle)
        self.steps = STEPS - host.steps_left
        if self._error is not None:
            raise self._error
        self.result = parse_result(bytes(host.result)) if end == _APP else None
        return end

    # -- called by the loader: nothing may be raised through its frames ---------------------------

    def _sense(self, address: int) -> int:
        try:
            cells = self.flash.cells_of(address)
            state = cells.sense(address - cells.span.start)
        except BaseException as error:
            return self._fails(error)
        return {Word.POISONED: _POISONED, Word.CORRECTED: _CORRECTED}.get(state, _OK)

    def _program(self, address: int, data: int) -> int:
        flash = self.flash
        try:
            if flash.is_protected(address) or flash.faults.program_fails(address):
                return _FAILED
            flash.program(address, ctypes.string_at(data, 32))
        except PowerCut:
            return _POWER_CUT
        except BaseException as error:
            return self._fails(error)
        return _OK

    def _erase(self, address: int) -> int:
        flash = self.flash
        try:
            if flash.is_protected(address) or flash.faults.erase_fails(address):
                return _FAILED
            flash.erase_sector(address)
        except PowerCut:
            return _POWER_CUT
        except BaseException as error:
            return self._fails(error)
        return _OK

    def _fails(self, error: BaseException) -> int:
        self._error = error
        return _POWER_CUT


def _address_of(buffer: bytearray) -> int:
    return ctypes.addressof((ctypes.c_uint8 * len(buffer)).from_buffer(buffer))


assert HEALTHY_BELOW == 2, "flash_host.c tests for it"
