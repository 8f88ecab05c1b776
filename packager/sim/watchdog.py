"""The independent watchdog in virtual time (RM0433 chapter 43)."""

from __future__ import annotations

from packager.sim.clock import Clock

_LSI_HZ = 32_000.0
_UNLOCK, _FEED, _START = 0x5555, 0xAAAA, 0xCCCC
KR, PR, RLR, SR, WINR = 0x00, 0x04, 0x08, 0x0C, 0x10


class Watchdog:
    """IWDG1: once running it resets the chip unless fed; only a reset stops it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.deadline = float("inf")
        """When it bites, in virtual seconds."""
        self.stuck_update = False
        """SR.PVU stays set: the ROM wrote the prescaler while the watchdog did not run."""
        self.reset(running=False)

    def reset(self, *, running: bool) -> None:
        """Take the reset values; ``running`` by option byte."""
        self.prescaler, self.reload, self.is_running = 0, 0xFFF, running
        self._unlocked = False
        self._updating_until = 0.0
        self._window = 0xFFF
        self.stuck_update = False
        self._feed()

    @property
    def period(self) -> float:
        """Seconds from a feed to the reset."""
        return (self.reload + 1) * float(4 << min(self.prescaler, 6)) / _LSI_HZ

    def read(self, offset: int) -> int:
        """Read a register."""
        busy = self.stuck_update or self._clock.now < self._updating_until
        values = {PR: self.prescaler, RLR: self.reload, SR: int(busy), WINR: self._window}
        return values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Write a register; PR and RLR want the unlock key first."""
        if offset == KR:
            self._unlocked = value == _UNLOCK
            if value == _START:
                self.is_running = True
            if value in (_FEED, _START):
                self._feed()
        elif self._unlocked and offset in (PR, RLR, WINR):
            if offset == PR:
                self.prescaler = value & 7
            elif offset == RLR:
                self.reload = value & 0xFFF
            else:
                self._window = value & 0xFFF
            if self.is_running:
                self._set_deadline()
                self._updating_until = self._clock.now + 6 * (4 << self.prescaler) / _LSI_HZ

    def slow_down(self) -> None:
        """Take the largest prescaler and a feed, as the ROM gives it."""
        self.prescaler = 6
        self._feed()

    def _feed(self) -> None:
        self._fed_at = self._clock.now
        self._set_deadline()

    def _set_deadline(self) -> None:
        self.deadline = self._fed_at + self.period if self.is_running else float("inf")
