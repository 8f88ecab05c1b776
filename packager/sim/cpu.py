"""The Cortex-M7 of the virtual chip: the shipped binary under unicorn, over our flash model.

Flash is mapped read and execute over the model's own buffers; the flash registers decide what a
store does, and what the emulator writes nevertheless is taken back before anybody can read it.
Reads of flash outside the boot sector are looked at one by one: alignment, health of the word,
operations under way. What the emulator does not have is done here and in ``cpu_exceptions``:
faults, exception return, sleeping, resets. Time: see :meth:`Core.run`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import unicorn
import unicorn.arm_const as arm

from packager.chip import SECTOR_SIZE, Chip
from packager.errors import SimulationFault
from packager.sim import scs, system_memory
from packager.sim.cells import HEALTHY_BELOW, Cells, Word
from packager.sim.cpu_exceptions import Exc, Exceptions, LockedUp
from packager.sim.flash_registers import FlashRegisters
from packager.sim.operations import BusError, PowerCut
from packager.sim.outcome import Handover, Stop
from packager.sim.pacer import Pacer
from packager.sim.peripherals import IWDG, RCC_AHB1ENR, Peripherals
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
_BLOCKS_TO_WATCH = 4000


class _BootWatch(Enum):
    """Whether fetches from the boot sector are looked at: only once its bank was changed."""

    OFF = 0
    WANTED = 1
    ON = 2


@dataclass(frozen=True)
class RunLimits:
    """When a run ends by itself, in virtual seconds since power-on."""

    deadline: float
    app_seconds: float
    count: bool = False
    """Count every instruction: exact, and several times slower."""


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
        self._chip = chip
        self._flash = flash
        self._peripherals = peripherals
        self._system = system
        self._clock = peripherals.clock
        self._limits = limits
        self._deadline = limits.deadline
        self.instructions = 0
        self.handover: Handover | None = None
        self.faults: list[str] = []
        """Faults the core took, in words."""
        self.on_app: Callable[[Handover], None] = lambda handover: None
        self._stop: Stop | None = None
        self._error: BaseException | None = None
        self._fault: tuple[Exc, int, int | None] | None = None
        self._interrupt: int | None = None
        self._last_access = 0
        self._same_accesses = 0
        self._quiet_accesses = 0
        self._work = 0
        self._sleeps = 0
        self._blocks = 0
        self._watch: SpinWatch | None = None
        self._counted = 0
        self._landed: tuple[Cells, int, bytes] | None = None
        self._boot_watch = _BootWatch.OFF
        self._uc = u.Uc(u.UC_ARCH_ARM, u.UC_MODE_THUMB | u.UC_MODE_MCLASS)
        self._uc.ctl_set_cpu_model(arm.UC_CPU_ARM_CORTEX_M7)
        self._exceptions = Exceptions(self._uc, system)
        self._events = self._flash_reads = self._charged_reads = 0
        self._app_starts = (chip.banks[0].start + SECTOR_SIZE, chip.banks[1].start)
        self._pacer = Pacer(lambda: self._events + self._blocks, self._uc.emu_stop)
        self._map(rams, bytearray(rom_memory))
        self._hook()

    # -- building ---------------------------------------------------------------------------------

    def _map(self, rams: Rams, rom_memory: bytearray) -> None:
        self._keep: list[Any] = []
        for cells in self._flash.flash.banks:
            self._map_buffer(cells.span.start, cells.content, _RX)
        for start, buffer in rams.buffers.items():
            self._map_buffer(start, buffer, _RWX)
        self._map_buffer(system_memory.BASE, rom_memory, _RX)
        self._uc.mmio_map(
            0x4000_0000, 0x2000_0000, self._read_bus, 0x4000_0000, self._write_bus, 0x4000_0000
        )
        self._uc.mmio_map(0xE000_0000, 0x10_0000, self._read_core, None, self._write_core, None)

    def _map_buffer(self, address: int, buffer: bytearray, rights: int) -> None:
        view = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        self._keep.append(view)
        self._uc.mem_map_ptr(address, len(buffer), rights, ctypes.addressof(view))

    def _hook(self) -> None:
        add, banks = self._uc.hook_add, self._chip.banks
        readers = (self._flash_reader(0), self._flash_reader(1))
        for start, bank, reader in zip(self._app_starts, banks, readers, strict=True):
            add(u.UC_HOOK_MEM_READ, reader, None, start, bank.end - 1)
            if start < bank.end:
                add(u.UC_HOOK_BLOCK, self._on_app_block, None, start, bank.end - 1)
        boot = self._flash.flash.banks[0]
        for word, state in enumerate(boot.states[: SECTOR_SIZE // 32]):
            if state >= HEALTHY_BELOW:
                at = boot.span.start + 32 * word
                add(u.UC_HOOK_MEM_READ, readers[0], None, at - 7, at + 31)
                add(u.UC_HOOK_CODE, self._on_sick_fetch, None, at, at + 31)
        rom_end = system_memory.BASE + system_memory.SIZE - 1
        add(u.UC_HOOK_BLOCK, self._on_rom_block, None, system_memory.BASE, rom_end)
        add(u.UC_HOOK_MEM_WRITE_PROT, self._on_store)
        add(u.UC_HOOK_MEM_UNMAPPED, self._on_unmapped)
        add(u.UC_HOOK_INTR, self._on_interrupt)
        if self._limits.count:
            add(u.UC_HOOK_BLOCK, self._block_counter())
        self._flash.on_busy = self._on_busy
        self._flash.speculation_is_closed = self._speculation_is_closed

    def close(self) -> None:
        """Let go of the emulator."""
        self._flash.on_busy = lambda bank: None
        self._flash.speculation_is_closed = lambda: True
        del self._exceptions, self._pacer, self._uc

    # -- running ----------------------------------------------------------------------------------

    def run(self, stack_pointer: int, entry: int, *, in_app: bool = False) -> Stop:
        """Run from reset state until something ends it.

        Virtual time passes with flash operations, peripheral accesses and flash reads (an
        estimate), with every instruction if they are counted, and after the application was
        entered with every block. A core that only sleeps or spins is taken to the next event.
        """
        uc = self._uc
        uc.reg_write(arm.UC_ARM_REG_SP, stack_pointer & ~3)
        uc.reg_write(arm.UC_ARM_REG_LR, 0xFFFF_FFFF)
        uc.reg_write(arm.UC_ARM_REG_PC, entry | 1)
        if not entry & 1:
            return self._locked_up("the reset vector has no Thumb bit")
        try:
            with self._pacer:
                while self._stop is None:
                    self._emulate()
                    if not self._after_emulation():
                        self._went_silent()
        except LockedUp:
            return self._locked_up("a fault met while a fault was handled")
        if self._error is not None:
            raise self._error
        assert self._stop is not None
        return self._stop

    def _went_silent(self) -> None:
        """The pacer stopped a core that touches nothing, or it only feeds its watchdog."""
        if self._pacer.silence > _SILENT_SECONDS:
            self._finish(Stop.TIME_UP)
        else:
            self._watch_for_spinning()

    def _emulate(self) -> None:
        self._pacer.begin()
        try:
            pc = self._uc.reg_read(arm.UC_ARM_REG_PC)
            self._uc.emu_start(pc | 1, _NEVER_RETURNS)
        except u.UcError as error:
            if self._fault is None and self._stop is None and self._interrupt is None:
                self._undefined(error)
        finally:
            self._pacer.end()
            self._take_back()
            self._charge_work()

    def _after_emulation(self) -> bool:
        """Deal with what stopped the emulator; False if it was stopped to be looked at."""
        if self._stop is not None:
            return True
        if self._fault is not None:
            (number, flags, address), self._fault = self._fault, None
            self._note_fault(number, flags, address)
            self._exceptions.fault(number, flags, address)
            return True
        if self._interrupt is not None:
            number_seen, self._interrupt = self._interrupt, None
            self._take_interrupt(number_seen)
            return True
        if self._boot_watch is _BootWatch.WANTED:
            self._watch_boot_sector()
            return True
        if self._last_halfword() in (_WFI, _WFE):
            self._idle(asleep=True)
            return True
        return False

    def _finish(self, stop: Stop) -> None:
        if self._stop is None:
            self._stop = stop
        self._uc.emu_stop()

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self._finish(Stop.TIME_UP)

    def _locked_up(self, why: str) -> Stop:
        self.faults.append(f"locked up: {why}")
        dog = self._peripherals.watchdog
        if dog.deadline <= self._deadline:
            self._clock.advance_to(dog.deadline, "idle")
            return Stop.WATCHDOG
        return Stop.LOCKED_UP

    def _last_halfword(self) -> int:
        pc = self._uc.reg_read(arm.UC_ARM_REG_PC)
        try:
            return int.from_bytes(self._uc.mem_read(pc - 2, 2), "little")
        except u.UcError:
            return 0

    @property
    def registers(self) -> dict[str, int]:
        """The general registers, for a report."""
        names = [*(f"r{n}" for n in range(13)), "sp", "lr", "pc", "xpsr"]
        numbers = (*_GENERAL, arm.UC_ARM_REG_PC, arm.UC_ARM_REG_XPSR)
        return {n: self._uc.reg_read(r) for n, r in zip(names, numbers, strict=True)}

    # -- time -------------------------------------------------------------------------------------

    def _charge(self, cycles: float) -> None:
        self._clock.advance(cycles / CORE_HZ, "cpu")

    def _look_at_the_clock(self, *, writes: bool = False) -> None:
        now = self._clock.now
        if now >= self._peripherals.watchdog.deadline:
            self._finish(Stop.WATCHDOG)
        elif now >= self._deadline:
            self._finish(Stop.TIME_UP)
        elif now >= self._system.next_tick and not writes:
            self._system.take_tick()
            self._system.systick_pending = True
            self._uc.emu_stop()
            self._interrupt = Exc.SYSTICK

    def _idle(self, *, asleep: bool) -> None:
        """Nothing happens until the next event: go there."""
        dog, tick = self._peripherals.watchdog.deadline, self._system.next_tick
        self._sleeps += 1
        if tick < min(dog, self._deadline) and (self.handover or self._sleeps < 2000):
            self._clock.advance_to(tick, "idle")
            self._look_at_the_clock()
        elif dog <= self._deadline and not (self._watch and self._watch.fed):
            self._clock.advance_to(dog, "idle")
            self._finish(Stop.WATCHDOG)
        elif self.handover:
            self._clock.advance_to(self._deadline, "idle")
            self._finish(Stop.TIME_UP)
        else:
            self._finish(Stop.IDLE)

    # -- exceptions -------------------------------------------------------------------------------

    def _take_interrupt(self, seen: int) -> None:
        if seen == 8:
            self._exceptions.leave()
        elif seen == Exc.SYSTICK:
            masked = self._exceptions.primask or self._exceptions.faultmask
            if self._system.systick_pending and not masked and not self._exceptions.active:
                self._system.systick_pending = False
                self._exceptions.enter(Exc.SYSTICK)
        elif seen == 2:
            if self._exceptions.primask or self._exceptions.active:
                self._fault_in_words("SVC that cannot be taken")
                self._exceptions.fault(Exc.HARD_FAULT, 0)
            else:
                self._exceptions.enter(Exc.SVCALL)
        elif seen == 3:
            self._note_fault(Exc.MEM_MANAGE, Cfsr.IACCVIOL, None)
            self._exceptions.fault(Exc.MEM_MANAGE, Cfsr.IACCVIOL)
        else:
            self._fault_in_words(f"exception {seen} of the emulator")
            self._exceptions.fault(Exc.USAGE_FAULT, 0)

    def _undefined(self, error: Any) -> None:
        if error.errno == u.UC_ERR_INSN_INVALID:
            self._fault = (Exc.USAGE_FAULT, Cfsr.UNDEFINSTR, None)
        else:
            self._fault = (Exc.BUS_FAULT, Cfsr.IBUSERR, None)

    def _note_fault(self, number: Exc, flags: int, address: int | None) -> None:
        where = "" if address is None else f" at 0x{address:08X}"
        self._fault_in_words(f"{number.name} {Cfsr(flags).name}{where}")

    def _fault_in_words(self, what: str) -> None:
        self.faults.append(f"{what}, pc 0x{self._uc.reg_read(arm.UC_ARM_REG_PC):08X}")

    def _on_interrupt(self, uc: Any, number: int, data: object) -> None:
        self._interrupt = number
        uc.emu_stop()

    def _bus_fault(self, flags: int, address: int | None) -> None:
        if self._fault is None and self._stop is None:
            self._fault = (Exc.BUS_FAULT, flags, address)
        self._uc.emu_stop()

    # -- flash ------------------------------------------------------------------------------------

    def _flash_reader(self, bank: int) -> Callable[..., None]:
        """Return the hook for loads from a bank; it runs for every one, so it does little."""
        cells, registers = self._flash.flash.banks[bank], self._flash.banks[bank]
        states, base, flash = cells.states, cells.span.start, self._flash.flash

        def on_read(
            uc: Any, access: int, address: int, size: int, value: int, data: object
        ) -> None:
            self._events += 1
            self._flash_reads += 1
            if self._landed is not None:
                self._take_back()
            if (
                states[(address - base) >> 5] >= HEALTHY_BELOW
                or address & size - 1
                or registers.queue
                or flash.intrusion
            ):
                self._read_with_care(bank, address, size)

        return on_read

    def _read_with_care(self, bank: int, address: int, size: int) -> None:
        if self._stop is not None or self._fault is not None:
            return
        if address & size - 1 and self.handover is None and address >= self._app_starts[bank]:
            self._report(address, f"an unaligned load of {size} bytes from flash", "align it")
            return
        if self._flash.banks[bank].queue:
            self._flash.stall_until_idle(bank)
            self._look_at_the_clock()
        if self._flash.flash.intrusion or self._flash.flash.word_state(address) >= HEALTHY_BELOW:
            self._read_sick_word(address)

    def _charge_work(self) -> None:
        """Charge the instructions, or else the loads from flash, since the last time."""
        reads = self._flash_reads - self._charged_reads
        if reads:
            self._charged_reads = self._flash_reads
            self._work += reads
            self._quiet_accesses = 0
        if self._limits.count:
            self._charge(self._counted - self.instructions)
            self.instructions = self._counted
        elif reads:
            self._charge(reads * FLASH_READ_CYCLES)

    def _read_sick_word(self, address: int) -> None:
        try:
            poisoned = self._flash.sense(address) is Word.POISONED
        except BusError:
            poisoned = True
        if poisoned and self._exceptions.ignores_bus_faults:
            self._system.note_fault(Cfsr.PRECISERR, address)
        elif poisoned:
            self._bus_fault(Cfsr.PRECISERR, address)

    def _on_sick_fetch(self, uc: Any, address: int, size: int, data: object) -> None:
        if self._flash.sense(address) is Word.POISONED:
            self._bus_fault(Cfsr.IBUSERR, None)

    def _on_store(
        self, uc: Any, access: int, address: int, size: int, value: int, data: object
    ) -> bool:
        self._take_back()
        self._events += 1
        bank = self._chip.bank_of(address)
        if self._pacer.asked:
            self._uc.emu_stop()  # the store comes again when the core goes on
        elif self._stop is None and self._fault is None:
            self._work += 1
            if bank is None:
                self._bus_fault(Cfsr.IMPRECISERR, None)
            elif address & size - 1:
                self._report(address, f"an unaligned store of {size} bytes to flash", "align it")
            else:
                try:
                    self._flash.store(address, size, value)
                except Exception as error:
                    self._went_wrong(error)
        if bank is not None:
            cells = self._flash.flash.banks[bank - 1]
            at = address - cells.span.start
            self._landed = cells, at, bytes(cells.content[at : at + size])
        return True

    def _take_back(self) -> None:
        """Undo what the emulator writes into the mapped buffer after :meth:`_on_store` said no."""
        if self._landed is not None:
            cells, at, right = self._landed
            cells.content[at : at + len(right)] = right
            self._landed = None

    def _on_busy(self, bank: int) -> None:
        """A bank begins an operation: no fetch from it until it is done."""
        span = self._chip.banks[bank]
        pc = self._uc.reg_read(arm.UC_ARM_REG_PC)
        if span.contains(pc):
            self._report(pc, "code in the bank that is being changed", "run it from RAM")
        if bank == 0 and self._boot_watch is _BootWatch.OFF:
            # not from inside a store: stopping there would do the store twice
            self._boot_watch = _BootWatch.WANTED

    def _watch_boot_sector(self) -> None:
        self._boot_watch = _BootWatch.ON
        start = self._chip.banks[0].start
        end = start + SECTOR_SIZE - 1
        self._uc.hook_add(u.UC_HOOK_BLOCK, self._on_boot_block, None, start, end)
        self._uc.ctl_flush_tb()

    def _on_boot_block(self, uc: Any, address: int, size: int, data: object) -> None:
        if self._stop is None and self._flash.is_busy(0):
            self._report(address, "code in the bank that is being changed", "run it from RAM")

    def _speculation_is_closed(self) -> bool:
        region = self._system.region_of(system_memory.BASE)
        return region is not None and region.execute_never

    # -- the other buses --------------------------------------------------------------------------

    def _went_wrong(self, error: Exception) -> None:
        """An access cut the power, ended in a bus error, broke a rule, or a callback raised."""
        if isinstance(error, BusError):
            self._bus_fault(Cfsr.IMPRECISERR, None)
        elif isinstance(error, PowerCut):
            self._finish(Stop.POWER_CUT)
        else:
            self._fail(self._with_pc(error) if isinstance(error, SimulationFault) else error)

    def _read_bus(self, uc: Any, offset: int, size: int, base: int) -> int:
        if self._stop is not None:
            return 0
        address = base + offset
        self._take_back()
        self._account(address)
        if IWDG <= address < IWDG + 0x20 or any(bank.queue for bank in self._flash.banks):
            self._work += 1  # what is polled changes with time: not a loop without end
        value = 0
        try:
            value = self._peripherals.read(address, size)
        except Exception as error:
            self._went_wrong(error)
        self._look_at_the_clock()
        return value

    def _write_bus(self, uc: Any, offset: int, size: int, value: int, base: int) -> None:
        if self._steps_back():
            return
        address = base + offset
        self._take_back()
        self._account(address, writes=True)
        try:
            self._peripherals.write(address, size, value)
        except Exception as error:
            self._went_wrong(error)
        self._look_at_the_clock(writes=True)

    def _steps_back(self) -> bool:
        """Tell whether a write must not happen: the run is over, or the write comes again."""
        self._events += 1
        if self._pacer.asked:
            self._uc.emu_stop()
        return self._pacer.asked or self._stop is not None

    def _account(self, address: int, *, writes: bool = False) -> None:
        """Charge an access; polling one register over and over goes ever faster."""
        feeds = writes and address == IWDG
        self._charge_work()
        if writes and not feeds:
            self._quiet_accesses = 0
            self._work += 1
        if address == self._last_access:
            self._same_accesses += 1
        elif not feeds:
            self._last_access, self._same_accesses = address, 0
        if feeds and self._watch is not None:
            self._watch.fed = True
        self._quiet_accesses += 1
        self._events += 1
        step = ACCESS_CYCLES / CORE_HZ * (1 << min(self._same_accesses >> 3, 12))
        self._clock.advance(min(step, _LONGEST_POLL_STEP), "cpu")
        if writes and not feeds:
            return  # a write that the emulator is stopped in would be done again
        if self._boot_watch is _BootWatch.WANTED:
            self._uc.emu_stop()
        if self._quiet_accesses > _FEEDS_BEFORE_WATCHING and self._watch is None:
            self._uc.emu_stop()

    def _read_core(self, uc: Any, offset: int, size: int, data: object) -> int:
        if self._stop is not None:
            return 0
        self._account(0xE000_0000 + offset)
        if offset in (scs.SYST_CSR, scs.SYST_CVR, scs.DWT_CYCCNT):
            self._work += 1
        value = self._system.read(offset, size)
        self._look_at_the_clock()
        return value

    def _write_core(self, uc: Any, offset: int, size: int, value: int, data: object) -> None:
        if self._steps_back():
            return
        self._account(0xE000_0000 + offset, writes=True)
        self._system.write(offset, size, value)
        if self._system.reset_requested:
            self._finish(Stop.RESET)

    def _on_unmapped(
        self, uc: Any, access: int, address: int, size: int, value: int, data: object
    ) -> bool:
        if self._stop is not None:
            return False
        fetch = access == u.UC_MEM_FETCH_UNMAPPED
        self._bus_fault(Cfsr.IBUSERR if fetch else Cfsr.PRECISERR, None if fetch else address)
        return False

    def _report(self, address: int, found: str, do: str) -> None:
        fault = SimulationFault(f"0x{address:08X}", found, "the chip forbids or punishes it", do)
        self._fail(self._with_pc(fault))

    def _with_pc(self, fault: SimulationFault) -> SimulationFault:
        pc = self._uc.reg_read(arm.UC_ARM_REG_PC)
        fault.where = f"{fault.where} (pc near 0x{pc:08X})"
        return fault

    # -- blocks of code ---------------------------------------------------------------------------

    def _on_app_block(self, uc: Any, address: int, size: int, data: object) -> None:
        self._events += 1
        if self._stop is not None:
            return
        if self.handover is None:
            self._enter_app(address)
            return
        bank = address >= self._chip.banks[1].start
        if self._flash.banks[bank].queue and self._flash.is_busy(bank):
            self._report(address, "code in the bank that is being changed", "run it from RAM")
            return
        if not self._limits.count:
            self._charge(size / 2)
        watch = self._watch = self._watch or SpinWatch(self.state)
        if watch.spins(address):
            watch.restart()
            self._idle(asleep=False)
        else:
            self._look_at_the_clock()

    def _enter_app(self, address: int) -> None:
        region = self._system.region_of(address)
        if region is not None and region.execute_never:
            self._report(address, "a jump into memory the MPU marks execute-never", "MPU off first")
            return
        read, system = self._uc.reg_read, self._system
        self.handover = Handover(
            address=address,
            vtor=system.vtor,
            stack_pointer=read(arm.UC_ARM_REG_SP),
            primask=self._exceptions.primask,
            faultmask=self._exceptions.faultmask,
            control=read(arm.UC_ARM_REG_CONTROL),
            ipsr=self._exceptions.active,
            mpu_on=system.mpu_is_on,
            instruction_cache_on=bool(system.ccr & scs.ICACHE_ON),
            data_cache_on=bool(system.ccr & scs.DCACHE_ON),
            systick_control=system.systick_control,
            usb_clock_on=self._peripherals.enabled(RCC_AHB1ENR, 27),
            time=self._clock.now,
            operations=len(self._flash.flash.operations),
        )
        self._deadline = min(self._deadline, self._clock.now + self._limits.app_seconds)
        try:
            self.on_app(self.handover)
        except Exception as error:  # a callback of a test: hand it through the emulator
            self._fail(error)

    def _on_rom_block(self, uc: Any, address: int, size: int, data: object) -> None:
        if self._stop is not None:
            return
        if address != system_memory.ROM_ENTRY:
            self._report(address, "a jump into system memory", "enter through its vectors")
        elif self._exceptions.primask or self._exceptions.faultmask:
            self._report(address, "the ROM is entered with interrupts masked", "unmask them first")
        elif uc.reg_read(arm.UC_ARM_REG_SP) != system_memory.ROM_STACK:
            self._report(address, "the ROM is entered on another stack", "load MSP from its vector")
        elif self._system.mpu_is_on:
            self._report(address, "the ROM is entered with the MPU on", "switch it off first")
        else:
            self._finish(Stop.ENTERS_ROM)

    def _block_counter(self) -> Callable[..., None]:
        """Return the hook that counts; it runs for every block, so it does little."""
        lengths: dict[int, int] = {}

        def on_block(uc: Any, address: int, size: int, data: object) -> None:
            count = lengths.get(address << 12 | size)
            if count is None:
                code = bytes(uc.mem_read(address, size))
                count = lengths[address << 12 | size] = _instructions(code)
            self._counted += count
            self._blocks += 1
            if self._blocks & 0xFFFF < _BLOCKS_TO_WATCH:
                self._look_while_counting(address)

        return on_block

    def _look_while_counting(self, address: int) -> None:
        """Now and then, look whether the core spins, and at the clock."""
        self._events += 1
        if self._stop is not None:
            return
        self._charge_work()
        self._look_at_the_clock()
        if self.handover is None:
            self._watch_counted(address)

    def _watch_counted(self, address: int) -> None:
        if self._blocks & 0xFFFF == 0 or self._watch is None:
            self._watch = SpinWatch(self.state)
        if self._watch.spins(address):
            self._watch.restart()
            self._idle(asleep=False)

    def _watch_for_spinning(self) -> None:
        """Look at every block for a while; a core in the same state twice never leaves."""
        watch = self._watch = SpinWatch(self.state)
        blocks = 0

        def look(uc: Any, address: int, size: int, data: object) -> None:
            nonlocal blocks
            blocks += 1
            if self._stop is None and (watch.spins(address) or blocks > _BLOCKS_TO_WATCH):
                uc.emu_stop()

        hook = self._uc.hook_add(u.UC_HOOK_BLOCK, look)
        self._uc.ctl_flush_tb()
        work = self._work
        self._emulate()
        self._uc.hook_del(hook)
        self._uc.ctl_flush_tb()
        if not self._after_emulation() and watch.found and work == self._work:
            self._idle(asleep=False)
        self._quiet_accesses = 0
        self._watch = None

    def state(self) -> tuple[int, ...]:
        """Return what decides what comes next, as far as registers hold it."""
        read = self._uc.reg_read
        return (*(read(register) for register in _GENERAL), read(arm.UC_ARM_REG_XPSR), self._work)


def _instructions(code: bytes) -> int:
    """Count Thumb instructions."""
    count = at = 0
    while at < len(code):
        wide = code[at + 1] >> 3 in (0x1D, 0x1E, 0x1F)
        at += 4 if wide else 2
        count += 1
    return count
