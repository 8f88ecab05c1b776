"""The cable between a host and OTG_FS: packets of a script, each when its time has come.

The program under test sees time pass by reading registers, and that is when packets arrive: never
between two of its reads, so a run is the same every time. A device that answers NAK is asked again
at its next read. A program that finds nothing new over and over is taken on faster and faster.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from packager.sim.clock import Clock
from packager.sim.otg import GINTSTS, Handshake, Otg
from packager.sim.usb import Gone, Stall, UsbFailure

DEBOUNCE_SECONDS = 0.1
"""From the pull-up to the first bus reset."""
BUS_RESET_SECONDS = 0.02
PACKET_SECONDS, BYTE_SECONDS = 10e-6, 4e-6
_SUSPEND_SECONDS = 3e-3
_LONGEST_STEP = 5e-3
_FIRST_STEP = 4e-6
_POLLS_TO_JUMP = 3
"""A program that found nothing this often is taken to the next packet, as far as a step goes."""
_IN_VAIN_SECONDS = 1.0
"""A device that pulls up, is not seen and polls for this long will never be."""


class Pid(Enum):
    """What a script asks for."""

    SETUP = 0
    OUT = 1
    IN = 2
    RESET = 3
    WAIT = 4


@dataclass(frozen=True)
class Packet:
    """One thing to do on the bus; ``address`` is that of the device meant."""

    pid: Pid
    data: bytes = b""
    address: int = 0
    seconds: float = 0.0
    """Time that passes before."""


Script = Generator[Packet, Any, bytes]
"""Yields packets and is sent what came back: bytes for IN, else None, or STALL as a failure."""


class Wire:
    """One cable; at most one script at a time."""

    def __init__(self, clock: Clock, otg: Otg, missing: Callable[[], list[str]]) -> None:
        self._clock = clock
        self._otg = otg
        self._missing = missing
        self.tick_seconds: Callable[[], float] = lambda: float("inf")
        """Period of a timer the program may be waiting for."""
        self.is_plugged = True
        self.is_seen = False
        """The host sees a pull-up, and everything behind it works."""
        self.on_change: Callable[[], None] = lambda: None
        """Called when the device comes or goes."""
        self.on_end: Callable[[], None] = lambda: None
        """Called when a script ended."""
        self.on_quiet: Callable[[], None] = lambda: None
        """Called when the program has only polled for :attr:`quiet_limit`, or polls in vain."""
        self.quiet_limit = float("inf")
        self.unplug_after: int | None = None
        """Planted: the cable is pulled when so many more bytes have gone over it."""
        self.bytes_carried = 0
        self.naks = 0
        """Packets refused for the moment, since the script began."""
        self._script: Script | None = None
        self._packet: Packet | None = None
        self._due = 0.0
        self._quiet_polls = 0
        self.quiet_since = clock.now
        self.answer = b""
        self.failure: BaseException | None = None
        otg.on_poll = self.poll

    def power_on(self) -> None:
        """Begin anew with a device that has just got power."""
        self.is_seen = False
        self._script = self._packet = None
        self.quiet_since = self._clock.now

    # -- the host ---------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """A script runs."""
        return self._script is not None

    def begin(self, script: Script) -> None:
        """Run a script from now on; :attr:`on_end` tells when it is through."""
        self._script, self.answer, self.failure, self.naks = script, b"", None, 0
        self._next(None)

    def give_up(self) -> None:
        """Stop the script where it is; the device will find out by what comes next."""
        if self._script is not None:
            self._script.close()
        self._script = self._packet = None

    def pull(self) -> None:
        """Pull the cable; the device goes on, on its own supply."""
        self.is_plugged = False
        self._look()

    def plug_in(self) -> None:
        """Put the cable back in; whether the device is seen shows when it runs on."""
        self.is_plugged = True
        self._otg.is_news = True

    # -- the device reads a register --------------------------------------------------------------

    def poll(self, offset: int) -> None:
        """Do what is due; let time pass for a program that keeps on finding nothing."""
        if self._otg.is_news or not self.is_plugged:
            self._look()
        if self._packet is not None and self._clock.now >= self._due:
            self._try()
        if self._otg.has_news:
            self._quiet_polls = 0
            self.quiet_since = self._clock.now
        elif offset == GINTSTS:
            self._pass_time()

    def disturb(self) -> None:
        """Note that the program did something: it does not only wait."""
        self._quiet_polls = 0

    def _pass_time(self) -> None:
        longest = min(_LONGEST_STEP, self.tick_seconds() / 4)
        step = min(_FIRST_STEP * 2 ** min(self._quiet_polls, 20), longest)
        self._quiet_polls += 1
        if self._packet is not None and self._due > self._clock.now:
            due = self._due - self._clock.now
            step = min(due, longest) if self._quiet_polls > _POLLS_TO_JUMP else min(step, due)
        self._clock.advance(step, "waiting")
        quiet = self._clock.now - self.quiet_since
        in_vain = self.is_plugged and not self.is_seen and quiet > _IN_VAIN_SECONDS
        if quiet > self.quiet_limit or (in_vain and self._otg.pulls_up):
            self.on_quiet()

    def _look(self) -> None:
        self._otg.is_news = False
        seen = self.is_plugged and self._otg.pulls_up and not self._missing()
        if not self.is_plugged and self._clock.now - self.quiet_since > _SUSPEND_SECONDS:
            self._otg.suspend()
        if seen != self.is_seen:
            self.is_seen = seen
            if not seen and self._script is not None:
                self._end(Gone())
            self.on_change()

    # -- packets ----------------------------------------------------------------------------------

    def _next(self, result: bytes | None, failure: UsbFailure | None = None) -> None:
        assert self._script is not None
        try:
            packet = self._script.throw(failure) if failure else self._script.send(result)
        except StopIteration as end:
            self.answer = end.value
            self._end(None)
        except UsbFailure as error:
            self._end(error)
        else:
            self._packet = packet
            wire_time = PACKET_SECONDS + BYTE_SECONDS * len(packet.data)
            self._due = self._clock.now + packet.seconds + wire_time

    def _end(self, failure: BaseException | None) -> None:
        self._script = self._packet = None
        self.failure = failure
        self.on_end()

    def _try(self) -> None:
        """Send the packet that is due; a NAK leaves it for the next time."""
        packet, otg = self._packet, self._otg
        assert packet is not None
        if self._is_pulled_before(packet):
            self.pull()
            return
        if packet.pid is Pid.WAIT:
            self._next(None)
        elif packet.pid is Pid.RESET:
            self._reset(packet)
        elif not otg.answers_to(packet.address):
            self.naks += 1  # nobody is meant: the host tries again and gives up in the end
        elif packet.pid is Pid.IN:
            self._took(otg.in_())
        else:
            take = otg.setup if packet.pid is Pid.SETUP else otg.out
            self._took(take(packet.data))

    def _reset(self, packet: Packet) -> None:
        """A bus reset has two ends: the program sees both."""
        if packet.data:
            self._otg.bus_reset_ends()
            self._next(None)
        else:
            self._otg.bus_reset()
            self._packet = Packet(Pid.RESET, b"end")
            self._due = self._clock.now + BUS_RESET_SECONDS

    def _took(self, result: bytes | Handshake) -> None:
        assert self._packet is not None
        if isinstance(result, bytes):
            self.bytes_carried += len(result)
            self._next(result)
        elif result is Handshake.ACK:
            self.bytes_carried += len(self._packet.data)
            self._next(None)
        elif result is Handshake.STALL:
            self._next(None, Stall())
        else:
            self.naks += 1

    def _is_pulled_before(self, packet: Packet) -> bool:
        if self.unplug_after is None or packet.pid in (Pid.WAIT, Pid.RESET):
            return False
        planned = len(packet.data) if packet.pid is not Pid.IN else 1
        if self.bytes_carried + planned <= self.unplug_after:
            return False
        self.unplug_after = None
        return True
