"""A core of the shipped loader that can be stopped, disturbed and set free again, and again.

A skip of n steps over n instructions as they lie in memory; a flip changes one flag or one bit of a
register. Every run begins in the same snapshot of core and board, at the entry of ``loader_main``,
so it costs a few milliseconds.
"""

from __future__ import annotations

import copy
import time
from collections import Counter
from typing import Any, NamedTuple

import unicorn
import unicorn.arm_const as arm

from packager.sim import system_memory
from packager.sim.board import Board
from packager.sim.cpu import Core, RunLimits
from packager.sim.operations import FlashOp
from packager.sim.outcome import Stop
from proof.code import Code

u: Any = unicorn
GENERAL = range(arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R0 + 13)
STATUS = arm.UC_ARM_REG_XPSR
FLAGS = {31: "N", 30: "Z", 29: "C", 28: "V"}
"""By the bit of :data:`STATUS`."""
_STUCK_AFTER = 500_000
"""Microseconds of the machine; an undisturbed run takes a tenth or less."""
_NEVER_RETURNS = 0xFFFF_FFFE
_NOP = bytes.fromhex("00bf")


class Glitch(NamedTuple):
    """One disturbance, at the ``nth`` time (from 1) that the instruction at ``address`` is due."""

    address: int
    nth: int
    width: int = 0
    """Instructions skipped; 0 for a flip."""
    register: int = 0
    bit: int = 0

    def __str__(self) -> str:
        if self.width:
            return f"skip {self.width} at 0x{self.address:08x} ({self.nth})"
        if self.register == STATUS:
            return f"flip {FLAGS[self.bit]} at 0x{self.address:08x} ({self.nth})"
        number = self.register - arm.UC_ARM_REG_R0
        return f"flip r{number}.{self.bit} at 0x{self.address:08x} ({self.nth})"

    @property
    def kind(self) -> str:
        """Name of the column it is counted in."""
        return f"skip {self.width}" if self.width else "flip"


class Run(NamedTuple):
    """What came of a run."""

    stop: Stop
    app_runs: bool
    faulted: bool
    """The simulator found a rule broken, which ends a run."""
    operations: tuple[FlashOp, ...]


class GlitchCore(Core):
    """A core that is stopped at a point, disturbed there, and set free."""

    patience = _STUCK_AFTER
    passes = 0
    """Times still to pass there."""
    reached = False

    def emulate(self) -> None:
        """Go on until something stops the emulator, or it takes far too long.

        Whatever else is to be done then, as after an operation that leaves poison behind: it ends.
        """
        begin = time.monotonic()
        try:
            pc = self.uc.reg_read(arm.UC_ARM_REG_PC)
            self.uc.emu_start(pc | 1, _NEVER_RETURNS, timeout=self.patience)
        except u.UcError as error:
            if self.pending_fault is None and self.stop is None:
                self._undefined(error)
        finally:
            self.flash_port.take_back()
            self.charge_work()
        if time.monotonic() - begin >= self.patience / 1e6:
            self.finish(Stop.TIME_UP)

    def advance(self) -> None:
        """Run to the end, or until the wanted point is reached."""
        try:
            while self.stop is None and not self.reached:
                self.emulate()
                if not self.reached and not self.after_emulation():
                    self.finish(Stop.TIME_UP)
        except Exception as error:
            self.fail(error)

    def run_to(self, address: int, nth: int) -> bool:
        """Stop before the instruction at ``address`` is due the ``nth`` time."""
        self.passes, self.reached = nth, False
        hook = self.uc.hook_add(u.UC_HOOK_CODE, self._pass, None, address, address)
        self.uc.ctl_remove_cache(address, address + 4)
        self.advance()
        self.uc.hook_del(hook)
        self.uc.ctl_remove_cache(address, address + 4)
        found, self.reached = self.reached, False
        return found

    def _pass(self, uc: Any, address: int, size: int, data: object) -> None:
        self.passes -= 1
        if self.passes == 0:
            self.reached = True
            uc.emu_stop()


class _Memory(NamedTuple):
    """Everything a run changes besides flash."""

    context: Any
    rams: dict[int, bytes]
    state: list[tuple[object, dict[str, object]]]


class Bench:
    """One board at the entry of ``loader_main``, to be run from there as often as wanted."""

    def __init__(self, board: Board, code: Code) -> None:
        self.board = board
        self.code = code
        self._flash = board.snapshot()
        self._heads: dict[tuple[int, int], tuple[int, int, int]] = {}
        """By instruction in an IT block and time it is due: the IT, when that is due, the end."""
        self._block_ends = code.block_ends
        self.core = self._new_core()
        # whether code runs in a busy bank is for other tests to see
        board._registers.on_busy = lambda bank: None
        main = code.functions["loader_main"].start
        assert self.core.run_to(main, 1), "loader_main is not reached"
        self._start = self._remember()

    def _new_core(self) -> GlitchCore:
        board, chip = self.board, self.board.chip
        board.flash.power_on(None)
        board.rams.power_on()
        board._registers.power_on()
        board._peripherals.power_on(watchdog_runs=False)
        vectors = chip.banks[0].start
        board._system.reset(vectors)
        core = GlitchCore(
            chip,
            board._registers,
            board._peripherals,
            board._system,
            board.rams,
            system_memory.render(chip, board.rom_id, board.uid),
            RunLimits(board.clock.now + 3600.0, 0.0, board.clock.now, strict=False),
        )
        core.on_app = lambda handover: core.finish(Stop.IDLE)
        head = board.read(vectors, 8)
        core.uc.reg_write(arm.UC_ARM_REG_SP, int.from_bytes(head[:4], "little"))
        core.uc.reg_write(arm.UC_ARM_REG_LR, 0xFFFF_FFFF)
        core.uc.reg_write(arm.UC_ARM_REG_PC, int.from_bytes(head[4:], "little"))
        return core

    # -- snapshots --------------------------------------------------------------------------------

    def _parts(self) -> list[object]:
        board = self.board
        peripherals = board._peripherals
        return [
            *(board.clock, board._registers, *board._registers.banks),
            *(peripherals, peripherals.watchdog, board._system, self.core, self.core.flash_port),
        ]

    def _remember(self) -> _Memory:
        plain = (int, float, bool, str, type(None), dict, list, set, tuple, bytearray)
        state = [
            (part, {k: copy.copy(v) for k, v in vars(part).items() if isinstance(v, plain)})
            for part in self._parts()
        ]
        rams = {start: bytes(buffer) for start, buffer in self.board.rams.buffers.items()}
        return _Memory(self.core.uc.context_save(), rams, state)

    def rewind(self) -> None:
        """Be at the entry of ``loader_main`` again, with untouched flash."""
        board = self.board
        if board.flash.operations:
            board.flash.restore(self._flash)
        board.flash.power_on(None)
        for start, content in self._start.rams.items():
            if board.rams.buffers[start] != content:
                board.rams.buffers[start][:] = content
                if start == 0:  # code lies there
                    self.core.uc.ctl_remove_cache(0, 0x1000)
        self.core.uc.context_restore(self._start.context)
        for part, values in self._start.state:
            for name, value in values.items():
                setattr(part, name, copy.copy(value))
        for bank in board._registers.banks:
            bank.lock.stage, bank.lock.jammed = 0, False

    # -- runs -------------------------------------------------------------------------------------

    def trace(self) -> Counter[int]:
        """Return how often each instruction is due in an undisturbed run, by address."""
        self.rewind()
        due: Counter[int] = Counter()
        head, end = 0, 0

        def note(uc: Any, address: int, size: int, data: object) -> None:
            nonlocal head, end
            due[address] += 1
            if head < address < end:
                self._heads[address, due[address]] = head, due[head], end
            else:
                head, end = address, self._block_ends.get(address, 0)

        uc = self.core.uc
        hooks = [
            uc.hook_add(u.UC_HOOK_CODE, note, None, first, last) for first, last in self.code.spans
        ]
        uc.ctl_flush_tb()
        self.core.patience *= 100
        self.core.advance()
        self.core.patience //= 100
        for hook in hooks:
            uc.hook_del(hook)
        uc.ctl_flush_tb()
        return due

    def run(self, glitch: Glitch) -> Run:
        """Run once with a disturbance."""
        self.rewind()
        core = self.core
        block = self._heads.get((glitch.address, glitch.nth)) if glitch.width else None
        if block is not None:
            self._skip_in_block(glitch, *block)
        elif core.run_to(glitch.address, glitch.nth):
            self._disturb(glitch)
        core.advance()
        return Run(
            core.stop or Stop.TIME_UP,
            core.handover is not None,
            core._error is not None,
            tuple(self.board.flash.operations),
        )

    def _disturb(self, glitch: Glitch) -> None:
        uc = self.core.uc
        if glitch.width:
            uc.reg_write(arm.UC_ARM_REG_PC, self.code.after(glitch.address, glitch.width) | 1)
        else:
            value = uc.reg_read(glitch.register)
            uc.reg_write(glitch.register, value ^ 1 << glitch.bit)

    def _skip_in_block(self, glitch: Glitch, head: int, nth: int, end: int) -> None:
        """Inside an IT block the emulator cannot be stopped: lay no-operations there instead."""
        core, uc = self.core, self.core.uc
        if not core.run_to(head, nth):
            return
        after = self.code.after(glitch.address, glitch.width)
        end = max(after, end)
        original = bytes(uc.mem_read(glitch.address, after - glitch.address))
        uc.mem_write(glitch.address, _NOP * (len(original) // 2))
        uc.ctl_remove_cache(head, end)
        core.run_to(end, 1)
        uc.mem_write(glitch.address, original)
        uc.ctl_remove_cache(head, end)
