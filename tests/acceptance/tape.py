"""A tape of what a program does on the buses of the virtual chip, and ways to meddle with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

import unicorn

from packager.sim import cpu, peripherals
from packager.sim.cpu import Core
from packager.sim.outcome import Stop
from packager.sim.ram import ITCM

u: Any = unicorn
PVDO = 1 << 4
FEED = 0xAAAA
_ITCM_END = ITCM + 64 * 1024


class Access(NamedTuple):
    """One access to a peripheral; ``code`` is the block of instructions, if that is watched."""

    time: float
    code: int
    is_write: bool
    address: int
    value: int


class Tape:
    """What one or more runs of the core did until the application was entered."""

    def __init__(self, *, watches_code: bool = False) -> None:
        self.watches_code = watches_code
        """Look at every block of code, at a price."""
        self.accesses: list[Access] = []
        self.strays: list[int] = []
        """Code outside ITCM that ran while a flash bank was busy."""
        self.core: Core | None = None
        """The core that ran last; it can still be asked for its registers."""
        self.begin: Callable[[Core], None] = lambda core: None
        """Called before the first instruction."""
        self.written: Callable[[Core, int, int], None] = lambda core, address, value: None
        """Called after a peripheral register was written, with address and value."""

    def times(self, address: int, value: int) -> list[float]:
        """Return when a value was written to a register."""
        return [a.time for a in self.accesses if a[2:] == (True, address, value)]

    def feeds(self) -> list[float]:
        """Return when the watchdog was fed."""
        return self.times(peripherals.IWDG, FEED)


def in_ram(code: int) -> bool:
    """Tell whether this code cannot be stalled by any flash bank."""
    return ITCM <= code < _ITCM_END


@contextmanager
def taped(tape: Tape) -> Iterator[Tape]:
    """Let every core that starts meanwhile write to this tape."""

    class TapedCore(Core):
        _code = 0

        def _hook(self) -> None:
            super()._hook()
            if tape.watches_code:
                self.uc.hook_add(u.UC_HOOK_BLOCK, self._on_any_block)

        def _on_any_block(self, uc: Any, address: int, size: int, data: object) -> None:
            self._code = address
            banks = self.flash.banks
            may_be_busy = [number for number in (0, 1) if banks[number].queue]
            if may_be_busy and not in_ram(address) and any(map(self.flash.is_busy, may_be_busy)):
                tape.strays.append(address)

        def _note(self, address: int, value: int, *, is_write: bool) -> None:
            if self.handover is None:
                access = Access(self.clock.now, self._code, is_write, address, value)
                tape.accesses.append(access)

        def _read_bus(self, uc: Any, offset: int, size: int, base: int) -> int:
            value = super()._read_bus(uc, offset, size, base)
            self._note(base + offset, value, is_write=False)
            return value

        def _write_bus(self, uc: Any, offset: int, size: int, value: int, base: int) -> None:
            comes_again = self.pacer.asked or self.stop is not None
            super()._write_bus(uc, offset, size, value, base)
            if not comes_again:
                self._note(base + offset, value, is_write=True)
                tape.written(self, base + offset, value)

        def run(self, stack_pointer: int, entry: int) -> Stop:
            tape.core = self
            tape.begin(self)
            return super().run(stack_pointer, entry)

    with mock.patch.object(cpu, "Core", TapedCore):
        yield tape
