"""Where the virtual core is: entering the application or the ROM, counting, going in circles."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import unicorn
import unicorn.arm_const as arm

from packager.sim import scs, system_memory
from packager.sim.outcome import Handover, Stop
from packager.sim.peripherals import RCC_AHB1ENR
from packager.sim.spin import SpinWatch

if TYPE_CHECKING:
    from packager.sim.cpu import Core

u: Any = unicorn
_BLOCKS_TO_WATCH = 4000


class CodeWatch:
    """Looks at blocks of code of one :class:`Core`: few, unless instructions are counted."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self.counted = 0
        """Instructions, if they are counted."""
        self.blocks = 0
        """Blocks, if instructions are counted."""

    def hook(self) -> None:
        """Install the hooks of a fresh core."""
        core, add = self._core, self._core.uc.hook_add
        for start, bank in zip(core.flash_port.app_starts, core.chip.banks, strict=True):
            if start < bank.end:
                add(u.UC_HOOK_BLOCK, self._on_app_block, None, start, bank.end - 1)
        rom_end = system_memory.BASE + system_memory.SIZE - 1
        add(u.UC_HOOK_BLOCK, self._on_rom_block, None, system_memory.BASE, rom_end)
        if core.limits.count:
            add(u.UC_HOOK_BLOCK, self._counter())

    # -- the application --------------------------------------------------------------------------

    def _on_app_block(self, uc: Any, address: int, size: int, data: object) -> None:
        core = self._core
        core.events += 1
        if core.stop is not None:
            return
        if core.handover is None:
            self._enter_app(address)
            return
        bank = int(address >= core.chip.banks[1].start)
        if core.flash.banks[bank].queue and core.flash.is_busy(bank):
            core.flash_port.report_fetch(address)
            return
        if not core.limits.count:
            core.charge(size / 2)
        watch = core.watch = core.watch or SpinWatch(core.state)
        if watch.spins(address):
            watch.restart()
            core.idle()
        else:
            core.look_at_the_clock()

    def _enter_app(self, address: int) -> None:
        core = self._core
        region = core.system.region_of(address)
        if region is not None and region.execute_never:
            core.report(address, "a jump into memory the MPU marks execute-never", "MPU off first")
            return
        core.handover = self._look_around(address)
        core.deadline = min(core.deadline, core.clock.now + core.limits.app_seconds)
        try:
            core.on_app(core.handover)
        except Exception as error:  # a callback of a test: hand it through the emulator
            core.fail(error)

    def _look_around(self, address: int) -> Handover:
        core = self._core
        read, system = core.uc.reg_read, core.system
        return Handover(
            address=address,
            vtor=system.vtor,
            stack_pointer=read(arm.UC_ARM_REG_SP),
            primask=core.exceptions.primask,
            faultmask=core.exceptions.faultmask,
            control=read(arm.UC_ARM_REG_CONTROL),
            ipsr=core.exceptions.active,
            mpu_on=system.mpu_is_on,
            instruction_cache_on=bool(system.ccr & scs.ICACHE_ON),
            data_cache_on=bool(system.ccr & scs.DCACHE_ON),
            systick_control=system.systick_control,
            usb_clock_on=core.peripherals.enabled(RCC_AHB1ENR, 27),
            time=core.clock.now - core.limits.power_on,
            operations=len(core.flash.flash.operations),
            changed=core.changed(),
        )

    # -- the ROM ----------------------------------------------------------------------------------

    def _on_rom_block(self, uc: Any, address: int, size: int, data: object) -> None:
        core = self._core
        if core.stop is not None:
            return
        if address != system_memory.ROM_ENTRY:
            core.report(address, "a jump into system memory", "enter through its vectors")
        elif core.exceptions.primask or core.exceptions.faultmask:
            core.report(address, "the ROM is entered with interrupts masked", "unmask them first")
        elif uc.reg_read(arm.UC_ARM_REG_SP) != system_memory.ROM_STACK:
            core.report(address, "the ROM is entered on another stack", "load MSP from its vector")
        elif core.system.mpu_is_on:
            core.report(address, "the ROM is entered with the MPU on", "switch it off first")
        else:
            core.finish(Stop.ENTERS_ROM)

    # -- counting ---------------------------------------------------------------------------------

    def _counter(self) -> Callable[..., None]:
        """Return the hook that counts; it runs for every block, so it does little."""
        lengths: dict[int, int] = {}

        def on_block(uc: Any, address: int, size: int, data: object) -> None:
            count = lengths.get(address << 12 | size)
            if count is None:
                code = bytes(uc.mem_read(address, size))
                count = lengths[address << 12 | size] = _instructions(code)
            self.counted += count
            self.blocks += 1
            if self.blocks & 0xFFFF < _BLOCKS_TO_WATCH:
                self._look_while_counting(address)

        return on_block

    def _look_while_counting(self, address: int) -> None:
        """Now and then, look whether the core spins, and at the clock."""
        core = self._core
        if core.stop is not None:
            return
        core.charge_work()
        core.look_at_the_clock()
        if core.handover is not None:
            return
        if self.blocks & 0xFFFF == 0 or core.watch is None:
            core.watch = SpinWatch(core.state)
        if core.watch.spins(address):
            core.watch.restart()
            core.idle()

    # -- going in circles -------------------------------------------------------------------------

    def watch_for_spinning(self) -> None:
        """Look at every block for a while; a core in the same state again never leaves."""
        core = self._core
        watch = core.watch = SpinWatch(core.state)
        blocks = 0

        def look(uc: Any, address: int, size: int, data: object) -> None:
            nonlocal blocks
            blocks += 1
            if core.stop is None and (watch.spins(address) or blocks > _BLOCKS_TO_WATCH):
                uc.emu_stop()

        hook = core.uc.hook_add(u.UC_HOOK_BLOCK, look)
        core.uc.ctl_flush_tb()
        work = core.work
        core.emulate()
        core.uc.hook_del(hook)
        core.uc.ctl_flush_tb()
        if not core.after_emulation() and watch.found and work == core.work:
            core.idle()
        core.watch = None


def _instructions(code: bytes) -> int:
    """Count Thumb instructions."""
    count = at = 0
    while at < len(code):
        wide = code[at + 1] >> 3 in (0x1D, 0x1E, 0x1F)
        at += 4 if wide else 2
        count += 1
    return count
