"""The Cortex-M7 of the virtual chip: the shipped binary under unicorn, over our flash model.

Flash is mapped read and execute over the model's own buffers; the flash registers decide what a
store does, and what the emulator writes nevertheless is taken back before anybody can read it. What
the emulator does not have is done here and in the rooms beside: loads of sick words, faults,
exception return, sleeping, resets. Time: see :meth:`Core.run`.

A rule of the emulator rules this code: stopped inside a callback of a load or store, it repeats the
access when it goes on. So a run that goes on is stopped in reads and at blocks of code only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import unicorn
import unicorn.arm_const as arm

from packager.chip import Chip
from packager.errors import SimulationFault
from packager.sim import otg, scs, system_memory
from packager.sim.cpu_code import CodeWatch
from packager.sim.cpu_exceptions import Exc, Exceptions, LockedUp
from packager.sim.cpu_flash import FlashPort
from packager.sim.ctrl_c import raised_at_the_end
from packager.sim.flash_registers import FlashRegisters
from packager.sim.operations import BusError, PowerCut
from packager.sim.outcome import Handover, Stop
from packager.sim.pacer import Pacer
from packager.sim.peripherals import IWDG, PWR_CSR1, Peripherals
from packager.sim.ram import Rams
from packager.sim.scs import CORE_HZ, Cfsr, SystemControl
from packager.sim.spin import SpinWatch

u: Any = unicorn  # its own annotations are too partial to check against
_RX, _RWX = u.UC_PROT_READ | u.UC_PROT_EXEC, u.UC_PROT_ALL
_NEVER_RETURNS = 0xFFFF_FFFE
_WFI, _WFE = 0xBF30, 0xBF20
_GENERAL = (*range(arm.UC_ARM_REG_R0, arm.UC_ARM_REG_R0 + 13), arm.UC_ARM_REG_SP, arm.UC_ARM_REG_LR)
ACCESS_CYCLES = 8
"""Core cycles charged for a peripheral access."""
FLASH_READ_CYCLES = 60
"""Core cycles charged for a load from flash when instructions are not counted: loads of update and
application stand for the work done on them (an install takes about that many instructions each)."""
_LONGEST_POLL_STEP = 100e-6
_SILENT_SECONDS = 8.0
_FEEDS_BEFORE_WATCHING = 4000


@dataclass(frozen=True)
class RunLimits:
    """When a run ends by itself, and how closely it is watched; times are those of the clock."""

    deadline: float
    app_seconds: float
    power_on: float = 0.0
    strict: bool = True
    """Look at every load from flash behind the boot sector."""
    count: bool = False
    """Count every instruction: exact, and several times slower."""


_RESUMABLE = (Stop.HOST_IS_DUE, Stop.TIME_UP)


class Core:
    """One life of the core from reset to a :class:`Stop`; make a new one for the next reset."""

    def __init__(
        self,
        chip: Chip,
        flash: FlashRegisters,
        peripherals: Peripherals,
        system: SystemControl,
        rams: Rams,
        rom_memory: bytes,
        limits: RunLimits,
    ) -> None:
        self.chip = chip
        self.flash = flash
        self.peripherals = peripherals
        self.system = system
        self.clock = peripherals.clock
        self.limits = limits
        self.deadline = limits.deadline
        self.instructions = 0
        self.handover: Handover | None = None
        self.faults: list[str] = []
        """Faults the core took, in words."""
        self.on_app: Callable[[Handover], None] = lambda handover: None
        self.stop: Stop | None = None
        self._error: BaseException | None = None
        self.pending_fault: tuple[Exc, int, int | None] | None = None
        self._interrupt: int | None = None
        self._last_access = 0
        self._same_accesses = 0
        self._quiet_accesses = 0
        self.work = 0
        self._sleeps = 0
        self.watch: SpinWatch | None = None
        self.events = 0
        """Callbacks so far: the pulse that the pacer feels."""
        self._charged_reads = 0
        self.uc = u.Uc(u.UC_ARCH_ARM, u.UC_MODE_THUMB | u.UC_MODE_MCLASS)
        self.uc.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M7)
        self.exceptions = Exceptions(self.uc, system)
        self.flash_port = FlashPort(self)
        self.code = CodeWatch(self)
        self.is_fed = False
        """Its last loop feeds the watchdog."""
        self.pacer = Pacer(
            lambda: self.events + self.code.blocks, self.uc.emu_start, self.uc.emu_stop
        )
        self._map(rams, bytearray(rom_memory))
        self._hook()
        wire = self.wire = peripherals.wire
        wire.on_end = wire.on_change = self._host_is_due
        wire.on_quiet = self._only_polls
        wire.tick_seconds = lambda: system.tick_seconds

    # -- building ---------------------------------------------------------------------------------

    def _map(self, rams: Rams, rom_memory: bytearray) -> None:
        self._keep: list[Any] = []
        for cells in self.flash.flash.banks:
            self._map_buffer(cells.span.start, cells.content, _RX)
        for start, buffer in rams.buffers.items():
            self._map_buffer(start, buffer, _RWX)
        self._map_buffer(system_memory.BASE, rom_memory, _RX)
        self.uc.mmio_map(
            0x4000_0000, 0x2000_0000, self._read_bus, 0x4000_0000, self._write_bus, 0x4000_0000
        )
        self.uc.mmio_map(0xE000_0000, 0x10_0000, self._read_core, None, self._write_core, None)

    def _map_buffer(self, address: int, buffer: bytearray, rights: int) -> None:
        view = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        self._keep.append(view)
        self.uc.mem_map_ptr(address, len(buffer), rights, ctypes.addressof(view))

    def _hook(self) -> None:
        self.flash_port.hook()
        self.code.hook()
        self.uc.hook_add(u.UC_HOOK_MEM_UNMAPPED, self._on_unmapped)
        self.uc.hook_add(u.UC_HOOK_INTR, self._on_interrupt)

    def close(self) -> None:
        """Let go of the emulator."""
        self.flash_port.unhook()
        wire = self.wire
        wire.on_end = wire.on_change = wire.on_quiet = lambda: None
        del self.exceptions, self.flash_port, self.code, self.pacer, self.uc

    # -- running ----------------------------------------------------------------------------------

    def run(self, stack_pointer: int, entry: int) -> Stop:
        """Run from reset state until something ends it.

        Virtual time passes with flash operations, peripheral accesses and flash reads (an
        estimate), with every instruction if they are counted, and after the application was
        entered with every block. A core that only sleeps or spins is taken to the next event.
        """
        uc = self.uc
        uc.reg_write(arm.UC_ARM_REG_SP, stack_pointer & ~3)
        uc.reg_write(arm.UC_ARM_REG_LR, 0xFFFF_FFFF)
        uc.reg_write(arm.UC_ARM_REG_PC, entry | 1)
        if not entry & 1:
            return self._locked_up("the reset vector has no Thumb bit")
        return self._run_on()

    def resume(self, deadline: float) -> Stop:
        """Go on after a stop that allows it, until something ends that too."""
        assert self.stop in _RESUMABLE
        self.stop, self.deadline = None, deadline
        return self._run_on()

    def _run_on(self) -> Stop:
        try:
            with self.pacer, raised_at_the_end(self._give_up):
                while self.stop is None:
                    self.emulate()
                    if not self.after_emulation():
                        self._went_silent()
        except LockedUp:
            return self._locked_up("a fault met while a fault was handled")
        if self._error is not None:
            raise self._error
        assert self.stop is not None
        return self.stop

    @property
    def can_go_on(self) -> bool:
        """It was stopped for a while only."""
        return self.stop in _RESUMABLE and self._error is None

    def _host_is_due(self) -> None:
        self.finish(Stop.HOST_IS_DUE)

    def _only_polls(self) -> None:
        shown = self.wire.is_seen or not self.wire.is_plugged
        self.finish(Stop.HOST_IS_DUE if shown else Stop.IDLE)

    def _went_silent(self) -> None:
        """The pacer stopped a core that touches nothing, or it only feeds its watchdog."""
        if self.pacer.silence > _SILENT_SECONDS:
            self.finish(Stop.TIME_UP)
        else:
            self.code.watch_for_spinning()
            self._quiet_accesses = 0

    def emulate(self) -> None:
        """Go on until something stops the emulator."""
        self.pacer.begin()
        try:
            pc = self.uc.reg_read(arm.UC_ARM_REG_PC)
            self.uc.emu_start(pc | 1, _NEVER_RETURNS)
        except u.UcError as error:
            if self.pending_fault is None and self.stop is None and self._interrupt is None:
                self._undefined(error)
        finally:
            self.pacer.end()
            self.flash_port.take_back()
            self.charge_work()

    def after_emulation(self) -> bool:
        """Deal with what stopped the emulator; False if it was stopped to be looked at."""
        if self.stop is not None:
            return True
        if self.pending_fault is not None:
            (number, flags, address), self.pending_fault = self.pending_fault, None
            self._note_fault(number, flags, address)
            self.exceptions.fault(number, flags, address)
            return True
        if self._interrupt is not None:
            number_seen, self._interrupt = self._interrupt, None
            self._take_interrupt(number_seen)
            return True
        if self.flash_port.wants_a_pause:
            self.flash_port.pause()
            return True
        if self._last_halfword() in (_WFI, _WFE):
            self.idle()
            return True
        return False

    def finish(self, stop: Stop) -> None:
        """End the run; the first reason counts."""
        if self.stop is None:
            self.stop = stop
        self.uc.emu_stop()

    def fail(self, error: BaseException) -> None:
        """End the run with an error that :meth:`run` raises."""
        if self._error is None:
            self._error = error
        self.finish(Stop.TIME_UP)

    def _give_up(self) -> None:
        """End the run for good, whatever it does: no access may be repeated after this."""
        self.fail(KeyboardInterrupt())
        self.pacer.insist()

    def _locked_up(self, why: str) -> Stop:
        self.faults.append(f"locked up: {why}")
        dog = self.peripherals.watchdog
        if dog.deadline <= self.deadline:
            self.clock.advance_to(dog.deadline, "idle")
            return Stop.WATCHDOG
        return Stop.LOCKED_UP

    def _last_halfword(self) -> int:
        pc = self.uc.reg_read(arm.UC_ARM_REG_PC)
        try:
            return int.from_bytes(self.uc.mem_read(pc - 2, 2), "little")
        except u.UcError:
            return 0

    # -- time -------------------------------------------------------------------------------------

    def charge(self, cycles: float) -> None:
        """Let core cycles pass."""
        self.clock.advance(cycles / CORE_HZ, "cpu")

    def charge_work(self) -> None:
        """Charge the instructions, or else the loads from flash, since the last time."""
        reads = self.flash_port.reads - self._charged_reads
        if reads:
            self._charged_reads = self.flash_port.reads
            self.work += reads
            self._quiet_accesses = 0
        if self.limits.count:
            self.charge(self.code.counted - self.instructions)
            self.instructions = self.code.counted
        elif reads:
            self.charge(reads * FLASH_READ_CYCLES)

    def look_at_the_clock(self, *, once: bool = False) -> None:
        """See whether the watchdog bites, the time is up, or SysTick interrupts.

        A core that may go on is not stopped inside an access that must be done ``once``.
        """
        now = self.clock.now
        if now >= self.peripherals.watchdog.deadline:
            self.finish(Stop.WATCHDOG)
        elif now >= self.deadline and not once:
            self.finish(Stop.TIME_UP)
        elif now >= self.system.next_tick and not once:
            self.system.take_tick()
            self.system.systick_pending = True
            self.uc.emu_stop()
            self._interrupt = Exc.SYSTICK

    def idle(self) -> None:
        """Nothing happens until the next event: go there.

        In a handler SysTick does not end a sleep: only what could interrupt it would (Armv7-M
        B1.5.19, PRIMASK apart), and priorities are all the same here.
        """
        dog = self.peripherals.watchdog.deadline
        tick = float("inf") if self.exceptions.active else self.system.next_tick
        self._sleeps += 1
        self.is_fed = bool(self.watch and self.watch.fed)
        if tick < min(dog, self.deadline) and (self.handover or self._sleeps < 2000):
            self.clock.advance_to(tick, "idle")
            self.look_at_the_clock()
        elif dog <= self.deadline and not self.is_fed:
            self.clock.advance_to(dog, "idle")
            self.finish(Stop.WATCHDOG)
        elif self.handover:
            self.clock.advance_to(self.deadline, "idle")
            self.finish(Stop.TIME_UP)
        else:
            self.finish(Stop.IDLE)

    # -- exceptions -------------------------------------------------------------------------------

    def _take_interrupt(self, seen: int) -> None:
        if seen == 8:
            self.exceptions.leave()
        elif seen == Exc.SYSTICK:
            masked = self.exceptions.primask or self.exceptions.faultmask
            if self.system.systick_pending and not masked and not self.exceptions.active:
                self.system.systick_pending = False
                self.exceptions.enter(Exc.SYSTICK)
        elif seen == 2:
            if self.exceptions.primask or self.exceptions.active:
                self._fault_in_words("SVC that cannot be taken")
                self.exceptions.fault(Exc.HARD_FAULT, 0)
            else:
                self.exceptions.enter(Exc.SVCALL)
        elif seen == 3:
            self._note_fault(Exc.MEM_MANAGE, Cfsr.IACCVIOL, None)
            self.exceptions.fault(Exc.MEM_MANAGE, Cfsr.IACCVIOL)
        else:
            self._fault_in_words(f"exception {seen} of the emulator")
            self.exceptions.fault(Exc.USAGE_FAULT, 0)

    def _undefined(self, error: Any) -> None:
        if error.errno == u.UC_ERR_INSN_INVALID:
            self.pending_fault = (Exc.USAGE_FAULT, Cfsr.UNDEFINSTR, None)
        else:
            self.pending_fault = (Exc.BUS_FAULT, Cfsr.IBUSERR, None)

    def _note_fault(self, number: Exc, flags: int, address: int | None) -> None:
        where = "" if address is None else f" at 0x{address:08X}"
        self._fault_in_words(f"{number.name} {Cfsr(flags).name}{where}")

    def _fault_in_words(self, what: str) -> None:
        self.faults.append(f"{what}, pc 0x{self.uc.reg_read(arm.UC_ARM_REG_PC):08X}")

    def _on_interrupt(self, uc: Any, number: int, data: object) -> None:
        self._interrupt = number
        uc.emu_stop()

    def bus_fault(self, flags: int, address: int | None) -> None:
        """Stop, and take a bus fault before going on."""
        if self.pending_fault is None and self.stop is None:
            self.pending_fault = (Exc.BUS_FAULT, flags, address)
        self.uc.emu_stop()

    # -- the other buses --------------------------------------------------------------------------

    def went_wrong(self, error: Exception) -> None:
        """An access cut the power, ended in a bus error, broke a rule, or a callback raised."""
        if isinstance(error, BusError):
            self.bus_fault(Cfsr.IMPRECISERR, None)
        elif isinstance(error, PowerCut):
            self.finish(Stop.POWER_CUT)
        else:
            self.fail(self._with_pc(error) if isinstance(error, SimulationFault) else error)

    def _read_bus(self, uc: Any, offset: int, size: int, base: int) -> int:
        if self.stop is not None:
            return 0
        address = base + offset
        at_otg = address - otg.BASE
        pops = self.peripherals.pops(address)
        if pops and self.steps_back():
            return 0
        self.flash_port.take_back()
        self._account(address, once=pops)
        timed = address == PWR_CSR1 or IWDG <= address < IWDG + 0x20
        if timed or any(bank.queue for bank in self.flash.banks):
            self.work += 1  # what is polled changes with time: not a loop without end
        elif self.wire.is_seen and 0 <= at_otg < otg.SIZE:
            self.work += 1  # a host may do something at any time
            self._quiet_accesses = 0
        elif self.peripherals.serial.is_awaited:
            self.work += 1
        value = 0
        try:
            value = self.peripherals.read(address, size)
        except Exception as error:
            self.went_wrong(error)
        self.look_at_the_clock(once=pops)
        return value

    def _write_bus(self, uc: Any, offset: int, size: int, value: int, base: int) -> None:
        if self.steps_back():
            return
        address = base + offset
        self.flash_port.take_back()
        self._account(address, once=True)
        try:
            self.peripherals.write(address, size, value)
        except Exception as error:
            self.went_wrong(error)
        self.look_at_the_clock(once=True)

    def steps_back(self) -> bool:
        """Tell whether a write must not happen: the run is over, or the write comes again."""
        self.events += 1
        if self.pacer.asked:
            self.uc.emu_stop()
        return self.pacer.asked or self.stop is not None

    def _account(self, address: int, *, once: bool = False) -> None:
        """Charge an access; polling one register over and over goes ever faster."""
        feeds = once and address == IWDG
        self.charge_work()
        if once and not feeds:
            self._quiet_accesses = 0
            self.work += 1
        if address == self._last_access:
            self._same_accesses += 1
        elif not feeds:
            self._last_access, self._same_accesses = address, 0
        if feeds and self.watch is not None:
            self.watch.fed = True
        self._quiet_accesses += 1
        self.events += 1
        step = ACCESS_CYCLES / CORE_HZ * (1 << min(self._same_accesses >> 3, 12))
        self.clock.advance(min(step, _LONGEST_POLL_STEP), "cpu")
        if once and not feeds:
            return  # an access that the emulator is stopped in would be done again
        if self.flash_port.wants_a_pause:
            self.uc.emu_stop()
        if self._quiet_accesses > _FEEDS_BEFORE_WATCHING and self.watch is None:
            self.uc.emu_stop()

    def _read_core(self, uc: Any, offset: int, size: int, data: object) -> int:
        if self.stop is not None:
            return 0
        self._account(0xE000_0000 + offset)
        if offset in (scs.SYST_CSR, scs.SYST_CVR, scs.DWT_CYCCNT):
            self.work += 1
        value = self.system.read(offset, size)
        self.look_at_the_clock()
        return value

    def _write_core(self, uc: Any, offset: int, size: int, value: int, data: object) -> None:
        if self.steps_back():
            return
        self._account(0xE000_0000 + offset, once=True)
        self.system.write(offset, size, value)
        if self.system.reset_requested:
            self.finish(Stop.RESET)

    def _on_unmapped(
        self, uc: Any, access: int, address: int, size: int, value: int, data: object
    ) -> bool:
        if self.stop is not None:
            return False
        fetch = access == u.UC_MEM_FETCH_UNMAPPED
        self.bus_fault(Cfsr.IBUSERR if fetch else Cfsr.PRECISERR, None if fetch else address)
        return False

    def report(self, address: int, found: str, do: str) -> None:
        """End the run: the program broke a rule of the chip."""
        fault = SimulationFault(f"0x{address:08X}", found, "the chip forbids or punishes it", do)
        self.fail(self._with_pc(fault))

    def _with_pc(self, fault: SimulationFault) -> SimulationFault:
        pc = self.uc.reg_read(arm.UC_ARM_REG_PC)
        fault.where = f"{fault.where} (pc near 0x{pc:08X})"
        return fault

    def changed(self) -> dict[int, int]:
        """Return every register that reads otherwise than after a reset, by address."""
        return self.system.changed() | self.peripherals.changed()

    def state(self) -> tuple[int, ...]:
        """Return what decides what comes next, as far as registers hold it."""
        read = self.uc.reg_read
        return (*(read(register) for register in _GENERAL), read(arm.UC_ARM_REG_XPSR), self.work)
