"""The other end of the chip's serial ports: what a program sends and what it is sent (RM0433 48).

One line for all of them. Nothing arrives before a receiver is on; then the next byte comes as soon
as the last was read, or at a pace, whether it was read or not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from packager.sim.clock import Clock

CR1, ISR, ICR, RDR, TDR = 0x00, 0x1C, 0x20, 0x24, 0x28
_UE, _RE = 1 << 0, 1 << 2
_ORE, _RXNE, _TC, _TXE = 1 << 3, 1 << 5, 1 << 6, 1 << 7
_ACKNOWLEDGED = 3 << 21


class Serial:
    """Bytes in both directions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.sent = bytearray()
        self.on_byte: Callable[[int], None] = lambda byte: None
        """Called with every byte the program sends."""
        self._coming: deque[int] = deque()
        self._seconds_per_byte = 0.0
        self._next_at: float | None = None
        self._held: int | None = None
        self._overrun = False

    def power_on(self) -> None:
        """Forget what was sent; what is still to come waits for the next receiver."""
        self.sent.clear()
        self.reset()

    def reset(self) -> None:
        """Take the reset values."""
        self._next_at, self._held, self._overrun = None, None, False

    def feed(self, data: bytes, bytes_per_second: float | None) -> None:
        """Send ``data`` to the program; with a pace, what it does not read in time is lost."""
        self._coming += data
        self._seconds_per_byte = 1.0 / bytes_per_second if bytes_per_second else 0.0

    @property
    def is_awaited(self) -> bool:
        """Something is still to come."""
        return bool(self._coming)

    def read(self, offset: int, control: int, stored: int) -> int:
        """Read a register; ``control`` is CR1."""
        if offset == ISR:
            self._receive(control)
            got = (_RXNE if self._held is not None else 0) | (_ORE if self._overrun else 0)
            return _ACKNOWLEDGED | _TC | _TXE | got
        if offset == RDR:
            self._receive(control)
            byte, self._held = self._held, None
            return byte or 0
        return stored

    def write(self, offset: int, value: int) -> None:
        """Write TDR or ICR."""
        if offset == TDR:
            self.sent.append(value & 0xFF)
            self.on_byte(value & 0xFF)
        elif value & _ORE:
            self._overrun = False

    def _receive(self, control: int) -> None:
        if control & (_UE | _RE) != _UE | _RE:
            return
        now = self._clock.now
        if self._next_at is None:
            self._next_at = now + self._seconds_per_byte
        while self._coming and now >= self._next_at:
            if self._held is None:
                self._held = self._coming.popleft()
            elif self._seconds_per_byte:
                self._coming.popleft()
                self._overrun = True
            else:
                break
            self._next_at += self._seconds_per_byte
        if not self._coming:
            self._next_at = None
