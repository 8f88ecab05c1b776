"""A virtual STM32H743 board: power switch, BOOT0, debugger, USB socket, and a file to live in."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from packager.chip import FLASH_WORD, SECTOR_SIZE, Chip
from packager.errors import PackagerError
from packager.sim import board_file, system_memory
from packager.sim.cells import Word
from packager.sim.clock import Clock
from packager.sim.flash import Flash, FlashSnapshot
from packager.sim.flash_registers import FlashRegisters
from packager.sim.operations import BusError, Cut, FlashOp, Timing
from packager.sim.outcome import Handover, Stop
from packager.sim.peripherals import Peripherals, ResetCause
from packager.sim.ram import Rams
from packager.sim.rom import RomDfu
from packager.sim.rom_descriptors import ROM_VERSIONS
from packager.sim.scs import SystemControl

if TYPE_CHECKING:
    from packager.sim.cpu import Core
    from packager.sim.usb_backend import VirtualUsb

RESETS_TO_GIVE_UP = 32
"""A program that resets itself this often in one boot is in a loop."""
_ROM_LEAVE_GAP = 16


class Outcome(StrEnum):
    """How a boot ended."""

    APP_RUNS = "app-runs"
    STAYS_IN_ROM = "stays-in-rom"
    STAYS_PARKED = "stays-parked"
    TIME_UP = "time-up"
    POWER_CUT = "power-cut"
    LOCKED_UP = "locked-up"
    """The core stopped for good before an application ran (no program, or a fault in a fault)."""
    RESET_LOOP = "reset-loop"


@dataclass(frozen=True)
class BootReport:
    """What happened from power-on on; times are virtual seconds."""

    outcome: Outcome
    uart: str
    operations: list[FlashOp]
    seconds: dict[str, float]
    instructions: int | None
    """Exact if they were counted, else None."""
    resets: list[str] = field(default_factory=list)
    """Why the chip was reset, in order: ``reset`` or ``watchdog``."""
    faults: list[str] = field(default_factory=list)
    """Faults the core took, in words."""
    handover: Handover | None = None
    """The state in which the application was entered."""
    cut: Cut | None = None
    """The power cut that ended the boot."""


class Board:
    """The virtual board; flash and option bytes survive without power, the file holds them."""

    def __init__(
        self, chip: Chip, *, rom_id: int = 0x90, seed: int = 0, timing: Timing = Timing.TYPICAL
    ) -> None:
        if rom_id not in ROM_VERSIONS:
            raise PackagerError(
                f"ROM id 0x{rom_id:02X}",
                "no such bootloader",
                "expected one of " + ", ".join(f"0x{known:02X}" for known in ROM_VERSIONS),
            )
        self.chip = chip
        self.rom_id = rom_id
        self.uid = bytes.fromhex("3a0027001851333038373331")
        self.clock = Clock()
        self.flash = Flash(chip, self.clock, timing=timing, seed=seed)
        self.rams = Rams(chip)
        self.on_jump: Callable[[Handover], None] | None = None
        """Called when the application is entered, before its first instruction."""
        self.debugger_attached = False
        """A debugger seen since power-on: at RDP level 1 that closes the flash."""
        self.supply_volts: Callable[[float], float] = lambda now: 3.3
        """VDD at a virtual time, for the supply supervisor."""
        self._registers = FlashRegisters(self.flash)
        self._peripherals = Peripherals(self.clock, self._registers, ROM_VERSIONS[rom_id].revision)
        self._system = SystemControl(self.clock)
        self._rom: RomDfu | None = None

    # -- making and keeping -----------------------------------------------------------------------

    @classmethod
    def new(
        cls, chip: Chip, *, rom_id: int = 0x90, seed: int = 0, timing: Timing = Timing.TYPICAL
    ) -> Board:
        """Return a board as it comes from the factory: blank, unprotected."""
        return cls(chip, rom_id=rom_id, seed=seed, timing=timing)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Board:
        """Return the board kept in a file."""
        kept = board_file.read(Path(path))
        board = cls(kept.chip, rom_id=kept.rom_id, seed=kept.seed, timing=kept.timing)
        board.uid = kept.uid
        board.flash.restore(kept.flash)
        return board

    def save(self, path: str | os.PathLike[str]) -> None:
        """Keep the board in a file; an older file is replaced as a whole or not at all."""
        kept = board_file.KeptBoard(
            self.chip,
            self.rom_id,
            self.flash.seed,
            self.flash.timing,
            self.uid,
            self.flash.snapshot(),
        )
        board_file.write(Path(path), kept)

    def snapshot(self) -> FlashSnapshot:
        """Return a copy of all that survives without power, for :meth:`restore`."""
        return self.flash.snapshot()

    def restore(self, snapshot: FlashSnapshot) -> None:
        """Switch off and put back a snapshot."""
        self.power_off()
        self.flash.restore(snapshot)

    # -- debugger ---------------------------------------------------------------------------------

    def program(self, segments: dict[int, bytes]) -> None:
        """Write like a debugger at level 0: erase the sectors touched, then program whole words.

        Segments are padded with ones to whole flash words; words of ones only are left blank.
        """
        words = _flash_words(segments)
        for sector in sorted({address - address % SECTOR_SIZE for address in words}):
            cells = self.flash.cells_of(sector)
            cells.erase((sector - cells.span.start) // SECTOR_SIZE)
        for address, data in words.items():
            if data != b"\xff" * FLASH_WORD:
                cells = self.flash.cells_of(address)
                cells.program(cells.word_of(address), data)

    def read(self, address: int, size: int) -> bytes:
        """Return content of flash, or of RAM as the last run left it, without any effect."""
        found = self.rams.read(address, size)
        return self.flash.peek(address, size) if found is None else found

    # -- power ------------------------------------------------------------------------------------

    @property
    def rom(self) -> RomDfu | None:
        """The ROM's DfuSe device while the board sits in it."""
        return self._rom if self._rom is not None and self._rom.is_on_bus else None

    def usb_backend(self, *others: Board) -> VirtualUsb:
        """Return a pyusb backend with this board on port 1 and ``others`` on the ports after it."""
        from packager.sim.usb_backend import VirtualUsb

        return VirtualUsb([self, *others])

    def power_off(self) -> None:
        """Pull the plug; harmless for the flash while no operation runs."""
        if self._rom is not None and self._rom.is_on_bus:
            self._rom.drop()
        self._rom = None

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
        """Switch off and on, and run until the outcome is clear.

        That is: the application ran for ``app_seconds``, the loader stays, or ``limit_seconds``
        are over. ``cut`` also holds for what the ROM does over USB afterwards. ``on_operation``
        is called after every flash operation of this power-on, the ROM's too; what it raises ends
        the boot. ``count`` counts instructions exactly, at a price. Without ``strict`` loads of
        healthy flash words are not looked at: half the time for a sweep, but unaligned loads and
        loads from a busy bank pass unseen, and the core's time leaves them out.

        Raises :class:`~packager.errors.SimulationFault` when a program breaks a rule of the chip.
        """
        self.power_off()
        planned = Cut.parse(cut) if isinstance(cut, str) else cut
        self.flash.power_on(planned)
        self.flash.on_operation = None
        if on_operation is not None:
            self.flash.on_operation = lambda op: on_operation(op, self)
        self.rams.power_on()
        self._peripherals.uart.clear()
        self._peripherals.supply_volts = self.supply_volts
        self._registers.power_on()
        dog_runs = self.flash.options.watchdog_from_power_on
        self._peripherals.power_on(watchdog_runs=dog_runs)
        self.flash.intrusion = self.flash.options.rdp_level == 1 and self.debugger_attached
        run = _Run(self, limit_seconds, app_seconds, count, strict)
        source = self.flash.options.boot_address(boot0=boot0)
        if source >= system_memory.BASE and self.flash.options.rdp_level < 2:
            self.flash.intrusion = self.flash.options.rdp_level == 1
            return run.enter_rom()
        return run.from_reset(self.flash.options.boot_address(boot0=False))

    def boot_after_leave(
        self,
        *,
        limit_seconds: float = 600.0,
        app_seconds: float = 0.02,
        count: bool = False,
        strict: bool = True,
    ) -> BootReport:
        """Go on where the ROM's leave jumped to: no reset, and USB, HSI48 and CRS still on.

        The ROM resets the chip instead when the stack pointer found there is not inside RAM less
        16 bytes, or the entry is not in flash.
        """
        rom, self._rom = self._rom, None
        if rom is None or rom.left_to is None:
            raise PackagerError("virtual board", "its ROM was not left", "expected a leave before")
        run = _Run(self, limit_seconds, app_seconds, count, strict)
        stack, entry = self._fetch_vectors(rom.left_to)
        if stack is None or entry is None or not self._rom_would_jump(stack, entry):
            return run.reset_and_go_on(Stop.RESET)
        self._registers.reset()
        self._peripherals.rom_leaves(locks_power_register=rom.version.locks_power_register)
        return run.go(stack, entry, vtor=0)

    def _rom_would_jump(self, stack: int, entry: int) -> bool:
        ram = self.chip.ram_of(stack)
        fits = ram is not None and stack < ram.span.end - _ROM_LEAVE_GAP
        return fits and self.chip.bank_of(entry) is not None

    def _fetch_vectors(self, address: int) -> tuple[int, int] | tuple[None, None]:
        """Read stack pointer and entry as the core does; None if the word cannot be read."""
        if self.chip.bank_of(address) is None:
            return None, None
        try:
            if self._registers.sense(address) is Word.POISONED:
                return None, None
        except BusError:
            return None, None
        head = self.flash.peek(address, 8)
        return int.from_bytes(head[:4], "little"), int.from_bytes(head[4:], "little")

    def _sit_in_rom(self) -> None:
        self.rams.rom_ran(ROM_VERSIONS[self.rom_id].axi_sram_used)
        memory = system_memory.render(self.chip, self.rom_id, self.uid)

        def read(address: int, size: int) -> bytes:
            return memory[address - system_memory.BASE :][:size]

        self._rom = RomDfu(self.flash, self.rom_id, read)


class _Run:
    """One boot: the core from reset to reset until there is an outcome."""

    def __init__(
        self, board: Board, limit: float, app_seconds: float, count: bool, strict: bool
    ) -> None:
        self._board = board
        self._spent_before = dict(board.clock.seconds)
        self._deadline = board.clock.now + limit
        self._app_seconds = app_seconds
        self._count = count
        self._strict = strict
        self._power_on = board.clock.now
        self._resets: list[str] = []
        self._faults: list[str] = []
        self._instructions = 0
        self._handover: Handover | None = None

    def enter_rom(self) -> BootReport:
        """End in the ROM."""
        self._board._sit_in_rom()
        return self._report(Outcome.STAYS_IN_ROM)

    def from_reset(self, vectors: int) -> BootReport:
        """Take stack and entry from the vector table at ``vectors``, as the core does."""
        board = self._board
        stack, entry = board._fetch_vectors(vectors)
        if stack is None or entry is None:
            self._faults.append(f"locked up: no vectors can be read at 0x{vectors:08X}")
            return self._report(Outcome.LOCKED_UP)
        if stack == entry == 0xFFFF_FFFF:
            self._faults.append(f"locked up: no program, the vectors at 0x{vectors:08X} are blank")
            return self._report(Outcome.LOCKED_UP)
        return self.go(stack, entry, vtor=vectors)

    def reset_and_go_on(self, cause: Stop) -> BootReport:
        """Reset the chip without losing power, and start again."""
        board = self._board
        self._resets.append(str(cause))
        if len(self._resets) > RESETS_TO_GIVE_UP:
            return self._report(Outcome.RESET_LOOP)
        flags = ResetCause.WATCHDOG if cause is Stop.WATCHDOG else ResetCause.SOFTWARE
        board._registers.reset()
        board._peripherals.reset(flags, watchdog_runs=board.flash.options.watchdog_from_power_on)
        return self.from_reset(board.flash.options.boot_address(boot0=False))

    def go(self, stack: int, entry: int, *, vtor: int) -> BootReport:
        """Run the core until it stops, and decide what that means."""
        core, stop = self._run_core(stack, entry, vtor)
        self._faults += core.faults
        self._instructions += core.instructions
        self._handover = core.handover or self._handover
        if stop is Stop.POWER_CUT:
            return self._report(Outcome.POWER_CUT)
        if stop in (Stop.RESET, Stop.WATCHDOG):
            if core.handover is not None and self._board.clock.now >= self._deadline:
                return self._report(Outcome.APP_RUNS)
            return self.reset_and_go_on(stop)
        if stop is Stop.ENTERS_ROM:
            return self.enter_rom()
        if core.handover is not None:
            return self._report(Outcome.APP_RUNS)
        return self._report(_OUTCOMES[stop])

    def _run_core(self, stack: int, entry: int, vtor: int) -> tuple[Core, Stop]:
        from packager.sim.cpu import Core, RunLimits

        board = self._board
        board._system.reset(vtor)
        core = Core(
            board.chip,
            board._registers,
            board._peripherals,
            board._system,
            board.rams,
            system_memory.render(board.chip, board.rom_id, board.uid),
            RunLimits(self._deadline, self._app_seconds, self._power_on, self._strict, self._count),
        )
        if board.on_jump is not None:
            core.on_app = board.on_jump
        try:
            return core, core.run(stack, entry)
        finally:
            core.close()

    def _report(self, outcome: Outcome) -> BootReport:
        board = self._board
        return BootReport(
            outcome=outcome,
            uart=board._peripherals.uart.decode("utf-8", "replace"),
            operations=list(board.flash.operations),
            seconds=board.clock.since(self._spent_before),
            instructions=self._instructions if self._count else None,
            resets=self._resets,
            faults=self._faults,
            handover=self._handover,
            cut=board.flash.cut if outcome is Outcome.POWER_CUT else None,
        )


_OUTCOMES = {
    Stop.IDLE: Outcome.STAYS_PARKED,
    Stop.LOCKED_UP: Outcome.LOCKED_UP,
    Stop.TIME_UP: Outcome.TIME_UP,
}


def _flash_words(segments: dict[int, bytes]) -> dict[int, bytes]:
    """Cut segments into whole flash words, the gaps filled with ones."""
    words: dict[int, bytearray] = {}
    for start, data in segments.items():
        at = start
        while at < start + len(data):
            base = at - at % FLASH_WORD
            end = min(base + FLASH_WORD, start + len(data))
            word = words.setdefault(base, bytearray(b"\xff" * FLASH_WORD))
            word[at - base : end - base] = data[at - start : end - start]
            at = end
    return {address: bytes(words[address]) for address in sorted(words)}
