"""Flash as the virtual core sees it: loads, stores and fetches, one hook each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

import unicorn
import unicorn.arm_const as arm

from packager.chip import FLASH_WORD, SECTOR_SIZE
from packager.sim import system_memory
from packager.sim.cells import HEALTHY_BELOW, Cells, Word
from packager.sim.operations import BusError
from packager.sim.scs import Cfsr

if TYPE_CHECKING:
    from packager.sim.cpu import Core

u: Any = unicorn
_SICK = re.compile(b"[^\x00-\x01]+")
_IT_STATE = 0x0600_FC00
"""EPSR.IT. The emulator notes it before it calls a hook inside an IT block and never clears it
again, so that the first instructions of the next block would be taken for conditional ones. Inside
the running block the note is not used: the translator knows by itself."""
_IDLE_BLOCKS = 2000
"""After so many blocks of code from an idle boot sector its fetches are looked at no more, until
its bank is changed again: to look at each costs more than to run it."""
_GAP_WORDS = 64
"""Sick words closer than this many words share one hook."""


class _BootWatch(Enum):
    """Whether fetches from the boot sector are looked at: only while its bank is being changed."""

    OFF = 0
    WANTED = 1
    ON = 2
    UNWANTED = 3


class FlashPort:
    """Puts the flash model behind the flash addresses of one :class:`Core`."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._flash = core.flash
        self._chip = core.chip
        self.app_starts = (self._chip.banks[0].start + SECTOR_SIZE, self._chip.banks[1].start)
        """Where each bank goes on behind the boot sector."""
        self.reads = 0
        """Loads looked at so far."""
        self._landed: tuple[Cells, int, bytes] | None = None
        self._boot_watch = _BootWatch.OFF
        self._is_closed = False
        """Fetches are looked at because read-out protection has closed the flash."""
        self._boot_hook: Any = None
        self._idle_blocks = 0
        self._known_sick: set[tuple[int, int]] = set()
        self._new_poison = False
        self._operations_seen = len(self._flash.flash.operations)
        self._looks_at_all = core.limits.strict or self._flash.flash.intrusion

    def hook(self) -> None:
        """Install the hooks of a fresh core."""
        add = self._core.uc.hook_add
        if self._looks_at_all:
            for number, bank in enumerate(self._chip.banks):
                add(
                    u.UC_HOOK_MEM_READ,
                    self._reader(number),
                    None,
                    self.app_starts[number],
                    bank.end - 1,
                )
        self._hook_sick_words()
        add(u.UC_HOOK_MEM_WRITE_PROT, self._on_store)
        self._flash.on_busy = self._on_busy
        self._flash.speculation_is_closed = self._speculation_is_closed

    def unhook(self) -> None:
        """Let go of the flash model."""
        self._flash.on_busy = lambda bank: None
        self._flash.speculation_is_closed = lambda: True

    # -- hooks that are added on the way ----------------------------------------------------------

    @property
    def wants_a_pause(self) -> bool:
        """Whether the core should stop at the next good moment, for :meth:`pause`."""
        closes = self._flash.flash.intrusion and not self._is_closed
        changes = self._boot_watch in (_BootWatch.WANTED, _BootWatch.UNWANTED)
        return self._new_poison or changes or closes

    def pause(self) -> None:
        """Add the hooks that became necessary; only while the core stands still."""
        if self._boot_watch is _BootWatch.WANTED:
            self._boot_watch = _BootWatch.ON
            start = self._chip.banks[0].start
            end = self.app_starts[0] - 1
            self._idle_blocks = 0
            self._boot_hook = self._core.uc.hook_add(
                u.UC_HOOK_BLOCK, self._on_boot_block, None, start, end
            )
        elif self._boot_watch is _BootWatch.UNWANTED:
            self._boot_watch = _BootWatch.OFF
            self._core.uc.hook_del(self._boot_hook)
        if self._flash.flash.intrusion and not self._is_closed:
            self._is_closed = True
            for bank in self._chip.banks:
                self._core.uc.hook_add(
                    u.UC_HOOK_BLOCK, self._on_closed_fetch, None, bank.start, bank.end - 1
                )
        if self._new_poison:
            self._new_poison = False
            self._hook_sick_words()
        self._core.uc.ctl_flush_tb()

    def _hook_sick_words(self) -> None:
        """Look at reads of words that need it, as far as they are not looked at anyway."""
        add = self._core.uc.hook_add
        for number, cells in enumerate(self._flash.flash.banks):
            boot_words = 0 if number else SECTOR_SIZE // FLASH_WORD
            last = boot_words if self._looks_at_all else len(cells.states)
            for first, end in _sick_runs(cells, last):
                if (number, first) in self._known_sick:
                    continue
                self._known_sick.add((number, first))
                start = cells.span.start + FLASH_WORD * first
                stop = cells.span.start + FLASH_WORD * end - 1
                add(u.UC_HOOK_MEM_READ, self._reader(number), None, start - 7, stop)
                if first < boot_words:
                    add(u.UC_HOOK_CODE, self._on_sick_fetch, None, start, stop)

    # -- loads ------------------------------------------------------------------------------------

    def _reader(self, bank: int) -> Callable[..., None]:
        """Return the hook for loads from a bank; it may run for every one, so it does little."""
        core, cells, registers = self._core, self._flash.flash.banks[bank], self._flash.banks[bank]
        states, base, flash = cells.states, cells.span.start, self._flash.flash
        last = len(states) - 1  # of a power of two

        def on_read(
            uc: Any, access: int, address: int, size: int, value: int, data: object
        ) -> None:
            core.events += 1
            self.reads += 1
            if self._landed is not None:
                self.take_back()
            if (
                states[(address - base) >> 5] >= HEALTHY_BELOW
                or states[(address + size - base) >> 5 & last] >= HEALTHY_BELOW
                or address & size - 1
                or registers.queue
                or flash.intrusion
            ):
                self._read_with_care(bank, address, size)
            state = uc.reg_read(arm.UC_ARM_REG_XPSR)
            if state & _IT_STATE:
                uc.reg_write(arm.UC_ARM_REG_XPSR, state & ~_IT_STATE)

        return on_read

    def _read_with_care(self, bank: int, address: int, size: int) -> None:
        core = self._core
        if core.stop is not None or core.pending_fault is not None:
            return
        if address & size - 1 and core.handover is None and address >= self.app_starts[bank]:
            core.report(address, f"an unaligned load of {size} bytes from flash", "align it")
            return
        if self._flash.banks[bank].queue:
            self._flash.stall_until_idle(bank)
            core.look_at_the_clock()
        if self._flash.flash.intrusion or self._is_sick(address):
            self._read_sick_word(address)
        self._speculate(address + size)

    def _speculate(self, address: int) -> None:
        """A loader's load from Normal memory may also read what stands behind.

        The data are dropped with any bus error; the flags of the flash stay. Cortex-M7 TRM 5.2.
        """
        core = self._core
        if address % FLASH_WORD or core.handover is not None or not self._is_sick(address):
            return
        region = core.system.region_of(address)
        is_asked_only = region is not None and region.is_device
        if not is_asked_only and not self._flash.flash.intrusion:
            self._flash.sense(address)

    def _is_sick(self, address: int) -> bool:
        known = self._chip.bank_of(address) is not None
        return known and self._flash.flash.word_state(address) >= HEALTHY_BELOW

    def _read_sick_word(self, address: int) -> None:
        core = self._core
        try:
            poisoned = self._flash.sense(address) is Word.POISONED
        except BusError:
            poisoned = True
        if poisoned and core.exceptions.ignores_bus_faults:
            core.system.note_fault(Cfsr.PRECISERR, address)
        elif poisoned:
            core.bus_fault(Cfsr.PRECISERR, address)

    # -- stores -----------------------------------------------------------------------------------

    def _on_store(
        self, uc: Any, access: int, address: int, size: int, value: int, data: object
    ) -> bool:
        core = self._core
        self.take_back()
        bank = self._chip.bank_of(address)
        if not core.steps_back() and core.pending_fault is None:
            core.work += 1
            if bank is None:
                core.bus_fault(Cfsr.IMPRECISERR, None)
            elif address & size - 1:
                core.report(address, f"an unaligned store of {size} bytes to flash", "align it")
            else:
                self._store(address, size, value)
        if bank is not None:
            cells = self._flash.flash.banks[bank - 1]
            at = address - cells.span.start
            self._landed = cells, at, bytes(cells.content[at : at + size])
        return True

    def _store(self, address: int, size: int, value: int) -> None:
        try:
            self._flash.store(address, size, value)
        except Exception as error:
            self._core.went_wrong(error)
        operations = self._flash.flash.operations
        if len(operations) != self._operations_seen:
            self._operations_seen = len(operations)
            self._new_poison = self._new_poison or not operations[-1].virgin

    def take_back(self) -> None:
        """Undo what the emulator writes into the mapped buffer after :meth:`_on_store`."""
        if self._landed is not None:
            cells, at, right = self._landed
            cells.content[at : at + len(right)] = right
            self._landed = None

    # -- fetches ----------------------------------------------------------------------------------

    def _on_busy(self, bank: int) -> None:
        """A bank begins an operation: no fetch from it until it is done."""
        pc = self._core.uc.reg_read(arm.UC_ARM_REG_PC)
        if self._chip.banks[bank].contains(pc):
            self.report_fetch(pc)
        if bank == 0 and self._boot_watch is _BootWatch.OFF:
            # not from inside a store: stopping there would do the store twice
            self._boot_watch = _BootWatch.WANTED
        elif bank == 0 and self._boot_watch is _BootWatch.UNWANTED:
            self._idle_blocks, self._boot_watch = 0, _BootWatch.ON

    def _on_boot_block(self, uc: Any, address: int, size: int, data: object) -> None:
        if self._core.stop is not None:
            return
        if self._flash.banks[0].queue:
            self._idle_blocks = 0
            if self._flash.is_busy(0):
                self.report_fetch(address)
            return
        self._idle_blocks += 1
        if self._idle_blocks > _IDLE_BLOCKS and self._boot_watch is _BootWatch.ON:
            self._boot_watch = _BootWatch.UNWANTED

    def _on_sick_fetch(self, uc: Any, address: int, size: int, data: object) -> None:
        if self._is_sick(address) and self._flash.sense(address) is Word.POISONED:
            self._core.bus_fault(Cfsr.IBUSERR, None)

    def _on_closed_fetch(self, uc: Any, address: int, size: int, data: object) -> None:
        if self._core.stop is None:
            self._core.bus_fault(Cfsr.IBUSERR, None)

    def report_fetch(self, address: int) -> None:
        """Report code that runs in a bank under change: the fetch would stall for seconds."""
        self._core.report(address, "code in the bank that is being changed", "run it from RAM")

    def _speculation_is_closed(self) -> bool:
        region = self._core.system.region_of(system_memory.BASE)
        return region is not None and region.execute_never


def _sick_runs(cells: Cells, end: int) -> Iterator[tuple[int, int]]:
    """Yield runs of words, first and behind last, that hold every sick word below ``end``."""
    first = last = -1
    for found in _SICK.finditer(cells.states, 0, end):
        if first >= 0 and found.start() - last > _GAP_WORDS:
            yield first, last
            first = -1
        first = found.start() if first < 0 else first
        last = found.end()
    if first >= 0:
        yield first, last
