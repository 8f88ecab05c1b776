"""One life of a board: from power-on through any number of resets until the power goes.

A program that waits for a USB host is left where it is and goes on when the host does something,
so a life has legs: each ends with a report, and may be followed by another.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packager.sim import otg_bringup, system_memory
from packager.sim.cells import Word
from packager.sim.core_usb import CoreUsb, not_running
from packager.sim.flash_registers import FlashRegisters
from packager.sim.operations import BusError
from packager.sim.outcome import BootReport, Handover, Outcome, Stop
from packager.sim.peripherals import Peripherals, ResetCause
from packager.sim.scs import SystemControl
from packager.sim.usb import Gone

if TYPE_CHECKING:
    from packager.sim.board import Board
    from packager.sim.cpu import Core

RESETS_TO_GIVE_UP = 32
"""A program that resets itself this often in one leg is in a loop."""
SETTLE_SECONDS = 1.0
"""A program that only polls for this long has nothing of its own to do any more."""
_ROM_LEAVE_GAP = 16
_OUTCOMES = {
    Stop.IDLE: Outcome.STAYS_PARKED,
    Stop.LOCKED_UP: Outcome.LOCKED_UP,
    Stop.TIME_UP: Outcome.TIME_UP,
    Stop.POWER_CUT: Outcome.POWER_CUT,
}


@dataclass(frozen=True)
class Insides:
    """The parts of a board that a program on its core touches."""

    registers: FlashRegisters
    peripherals: Peripherals
    system: SystemControl
    enter_rom: Callable[[], None]


class Life:
    """The core from reset to reset, the host beside it."""

    def __init__(self, board: Board, inside: Insides, *, count: bool, strict: bool) -> None:
        self._board = board
        self._in = inside
        self._count = count
        self._strict = strict
        self._power_on = board.clock.now
        self._core: Core | None = None
        self._core_time = board.clock.now
        """How far the core has lived, while it waits."""
        self._ended: Stop | None = None
        """What ended the core while the host had its turn."""
        self.turn: AbstractContextManager[bool] = threading.RLock()
        """Held by whoever lets the core run: a USB host may live in another thread."""
        self.usb: CoreUsb | None = None
        self._begin_leg(0.0, 0.0)

    def _begin_leg(self, limit_seconds: float, app_seconds: float) -> None:
        clock = self._board.clock
        self._spent_before = dict(clock.seconds)
        self._deadline = clock.now + limit_seconds
        self._app_seconds = app_seconds
        self._resets: list[str] = []
        self._faults: list[str] = []
        self._usb_trouble: list[str] = []
        self._instructions = 0
        self._handover: Handover | None = None

    # -- legs -------------------------------------------------------------------------------------

    def power_on(self, vectors: int, limit_seconds: float, app_seconds: float) -> BootReport:
        """Begin with the power-on reset."""
        self._begin_leg(limit_seconds, app_seconds)
        return self._from_reset(vectors)

    def go_on(self, limit_seconds: float, app_seconds: float) -> BootReport:
        """Go on with a program that waits, or with the reset it asked for."""
        with self.turn:
            self._begin_leg(limit_seconds, app_seconds)
            stop, self._ended = self._ended, None
            if stop is None:
                stop = self._go_on_waiting()
            return self._conclude(stop)

    def press_reset(self, limit_seconds: float, app_seconds: float) -> BootReport:
        """Pull NRST low for a moment, whatever the core does."""
        with self.turn:
            with suppress(Gone):
                self.catch_up()
            self._let_go_of_core()
            self._ended = None
            self._begin_leg(limit_seconds, app_seconds)
            self._reset(ResetCause.PIN)
            return self._from_reset(self._boot_address())

    def enter_rom(self) -> BootReport:
        """End in the ROM."""
        self._in.enter_rom()
        return self._report(Outcome.STAYS_IN_ROM)

    def after_leave(
        self, vectors: int, locks_power_register: bool, limit_seconds: float, app_seconds: float
    ) -> BootReport:
        """Go on where the ROM's leave jumps to."""
        self._begin_leg(limit_seconds, app_seconds)
        stack, entry = self._fetch_vectors(vectors)
        if stack is None or entry is None or not self._rom_would_jump(stack, entry):
            return self._reset_and_go_on(Stop.RESET)
        self._in.registers.reset()
        self._in.peripherals.rom_leaves(locks_power_register=locks_power_register)
        return self._start(stack, entry, vtor=0)

    def end(self) -> None:
        """Lose the power, at the present moment."""
        with self.turn:
            with suppress(Gone):
                self.catch_up()
            self._let_go_of_core()
            self._in.registers.reset()  # tears what the flash is doing

    # -- resets -----------------------------------------------------------------------------------

    def _boot_address(self) -> int:
        return self._board.flash.options.boot_address(boot0=False)

    def _from_reset(self, vectors: int) -> BootReport:
        """Take stack and entry from the vector table at ``vectors``, as the core does."""
        stack, entry = self._fetch_vectors(vectors)
        if stack is None or entry is None:
            self._faults.append(f"locked up: no vectors can be read at 0x{vectors:08X}")
            return self._report(Outcome.LOCKED_UP)
        if stack == entry == 0xFFFF_FFFF:
            self._faults.append(f"locked up: no program, the vectors at 0x{vectors:08X} are blank")
            return self._report(Outcome.LOCKED_UP)
        return self._start(stack, entry, vtor=vectors)

    def _reset(self, cause: int) -> None:
        self._in.registers.reset()
        dog_runs = self._board.flash.options.watchdog_from_power_on
        self._in.peripherals.reset(cause, watchdog_runs=dog_runs)

    def _reset_and_go_on(self, cause: Stop) -> BootReport:
        """Reset the chip without losing power, and start again."""
        self._resets.append(str(cause))
        if len(self._resets) > RESETS_TO_GIVE_UP:
            return self._report(Outcome.RESET_LOOP)
        self._reset(ResetCause.WATCHDOG if cause is Stop.WATCHDOG else ResetCause.SOFTWARE)
        return self._from_reset(self._boot_address())

    def _fetch_vectors(self, address: int) -> tuple[int, int] | tuple[None, None]:
        """Read stack pointer and entry as the core does; None if the word cannot be read."""
        board = self._board
        if board.chip.bank_of(address) is None:
            return None, None
        try:
            if self._in.registers.sense(address) is Word.POISONED:
                return None, None
        except BusError:
            return None, None
        head = board.flash.peek(address, 8)
        return int.from_bytes(head[:4], "little"), int.from_bytes(head[4:], "little")

    def _rom_would_jump(self, stack: int, entry: int) -> bool:
        ram = self._board.chip.ram_of(stack)
        fits = ram is not None and stack < ram.span.end - _ROM_LEAVE_GAP
        return fits and self._board.chip.bank_of(entry) is not None

    # -- the core ---------------------------------------------------------------------------------

    def _start(self, stack: int, entry: int, *, vtor: int) -> BootReport:
        """Run the core until it stops, and decide what that means."""
        from packager.sim.cpu import Core, RunLimits

        board, inside = self._board, self._in
        inside.system.reset(vtor)
        core = self._core = Core(
            board.chip,
            inside.registers,
            inside.peripherals,
            inside.system,
            board.rams,
            system_memory.render(board.chip, board.rom_id, board.uid),
            RunLimits(self._deadline, self._app_seconds, self._power_on, self._strict, self._count),
        )
        if board.on_jump is not None:
            core.on_app = board.on_jump
        try:
            stop = core.run(stack, entry)
        except BaseException:
            self._let_go_of_core()
            raise
        return self._conclude(stop)

    def _resume(self, deadline: float) -> Stop:
        core = self._core
        assert core is not None
        try:
            return core.resume(deadline)
        except BaseException:
            self._let_go_of_core()
            raise
        finally:
            self._core_time = self._board.clock.now

    def _let_go_of_core(self) -> None:
        core, self._core = self._core, None
        if core is not None:
            self._faults += core.faults
            self._instructions += core.instructions
            self._handover = core.handover or self._handover
            core.close()
        if self.usb is not None:
            self.usb.left()

    def _conclude(self, stop: Stop) -> BootReport:
        """Say what a stop of the core means; go on with a reset."""
        if stop is Stop.HOST_IS_DUE:
            return self._show_to_host()
        core = self._core
        entered = core is not None and core.handover is not None
        self._let_go_of_core()
        if stop in (Stop.RESET, Stop.WATCHDOG):
            if entered and self._board.clock.now >= self._deadline:
                return self._report(Outcome.APP_RUNS)
            return self._reset_and_go_on(stop)
        if stop is Stop.ENTERS_ROM:
            return self.enter_rom()
        if entered and stop is not Stop.POWER_CUT:
            return self._report(Outcome.APP_RUNS)
        return self._report(_OUTCOMES[stop])

    # -- the host ---------------------------------------------------------------------------------

    def _show_to_host(self) -> BootReport:
        """Let the host enumerate what came; go on without it where the device has left."""
        wire = self._in.peripherals.wire
        self._core_time = self._board.clock.now
        while wire.is_plugged:
            if self.usb is not None and self.usb.is_on_bus:
                break
            if self._ended is not None:
                stop, self._ended = self._ended, None
                return self._conclude(stop)
            if not wire.is_seen:
                return self._conclude(self._go_on_waiting())
            self.usb = CoreUsb(self._board.clock, wire, self._in.peripherals.otg, self)
            trouble = self.usb.enumerate()
            if trouble and self._ended is None:
                self.usb.left()
                self._usb_trouble.append(trouble)
                return self._report(Outcome.STAYS_PARKED)
        return self._report(Outcome.STAYS_IN_DFU)

    def _go_on_waiting(self) -> Stop:
        if self._core is None or not self._core.can_go_on:
            raise not_running()
        wire = self._in.peripherals.wire
        self.catch_up()
        wire.quiet_since, wire.quiet_limit = self._board.clock.now, SETTLE_SECONDS
        try:
            return self._resume(self._deadline)
        finally:
            wire.quiet_limit = float("inf")

    def live_until(self, moment: float) -> None:
        """Let the core run until ``moment`` or until the host is due; :class:`Gone` if it ends."""
        with self.turn:
            if self._core is None:
                raise Gone
            if self._ended is None:
                stop = self._resume(moment)
                self._ended = None if self._core.can_go_on else stop
            if self._ended in (Stop.IDLE, Stop.LOCKED_UP):
                self._hang_until(moment)
            if self._ended is not None and self._ended not in (Stop.IDLE, Stop.LOCKED_UP):
                if self.usb is not None and self._ended is Stop.POWER_CUT:
                    self.usb.power_cut = self._board.flash.cut
                raise Gone

    def _hang_until(self, moment: float) -> None:
        """A core in a loop without end: its pull-up stays, and a watchdog may end it."""
        clock, dog = self._board.clock, self._in.peripherals.watchdog.deadline
        if dog <= moment and self._core is not None and not self._core.is_fed:
            clock.advance_to(dog, "idle")
            self._ended = Stop.WATCHDOG
        else:
            clock.advance_to(moment, "idle")
        self._core_time = clock.now

    def catch_up(self) -> None:
        """Let the core live through the time that has passed."""
        with self.turn:
            clock, present = self._board.clock, self._board.clock.now
            if self._core is None or self._core_time >= present:
                return
            clock.go_back_to(self._core_time)
            try:
                while clock.now < present:
                    self.live_until(present)
            finally:
                clock.be_present()

    # -- reports ----------------------------------------------------------------------------------

    def _report(self, outcome: Outcome) -> BootReport:
        board, core = self._board, self._core
        trouble = otg_bringup.missing(self._in.peripherals.otg, self._in.peripherals.peek)
        return BootReport(
            outcome=outcome,
            uart=self._in.peripherals.serial.sent.decode("utf-8", "replace"),
            operations=list(board.flash.operations),
            seconds=board.clock.since(self._spent_before),
            instructions=self._instructions if self._count else None,
            resets=self._resets,
            faults=[*self._faults, *(core.faults if core else ())],
            handover=self._handover,
            cut=board.flash.cut if outcome is Outcome.POWER_CUT else None,
            usb=[] if outcome is Outcome.APP_RUNS else trouble + self._usb_trouble,
        )
