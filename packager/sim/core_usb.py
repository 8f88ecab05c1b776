"""The USB device that a program on the core makes, served through its own OTG_FS driver.

Same seam as the ROM's: :meth:`CoreUsb.control`. Beside it the packets of a transfer one by one, for
what a well-behaved host never sends. Time that passes for the host passes for the core: it lives
through it before it sees the next packet.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from packager.errors import PackagerError
from packager.sim.clock import Clock
from packager.sim.operations import Cut
from packager.sim.otg import Otg
from packager.sim.usb import Babble, Descriptors, Gone, Hung, Stall, UsbFailure, UsbTiming
from packager.sim.wire import DEBOUNCE_SECONDS, Packet, Pid, Script, Wire

PACKET_BYTES = 64
PATIENCE_SECONDS = 5.0
"""How long hosts commonly wait for a control transfer."""
ADDRESS = 7
_RECOVERY_SECONDS = 0.01
_SETUP = struct.Struct("<BBHHH")
_GET_DESCRIPTOR, _SET_ADDRESS, _SET_CONFIGURATION = 6, 5, 9


class Runner(Protocol):
    """The core behind the device."""

    turn: AbstractContextManager[bool]
    """Held by whoever lets the core run."""

    def live_until(self, moment: float) -> None:
        """Let the core run until ``moment`` or until the host is due; :class:`Gone` if it ends."""

    def catch_up(self) -> None:
        """Let the core live through the time that has passed."""


class CoreUsb:
    """One enumeration of a device; it stays dead once it left the bus."""

    def __init__(self, clock: Clock, wire: Wire, otg: Otg, runner: Runner) -> None:
        self.clock = clock
        self.timing = UsbTiming()
        self.patience = PATIENCE_SECONDS
        """Seconds after which the host gives a transfer up."""
        self.transfers = 0
        self.unplug_at: int | None = None
        self.power_cut: Cut | None = None
        self.on_gone: Callable[[], None] = lambda: None
        self.longest_transfer = 0.0
        """Seconds the slowest control transfer took."""
        self._wire = wire
        self._otg = otg
        self._runner = runner
        self._address = 0
        self._configuration = 1
        self._gone = False
        self._stage = ""
        self._descriptors = Descriptors(b"", b"")

    # -- being there ------------------------------------------------------------------------------

    @property
    def is_on_bus(self) -> bool:
        """Tell whether the host still sees the device (it does when the device hangs)."""
        if not self._gone:
            try:
                self._runner.catch_up()
            except Gone:
                self.left()
            if not self._wire.is_seen:
                self.left()
        return not self._gone

    @property
    def descriptors(self) -> Descriptors:
        """What it said when it was enumerated."""
        return self._descriptors

    def drop(self) -> None:
        """Pull the cable; a device with its own supply goes on."""
        if not self._gone:
            try:
                self._runner.catch_up()
            except Gone:
                self.left()
        self._wire.pull()
        self.left()

    def left(self) -> None:
        """Note that it is no longer on the bus."""
        if not self._gone:
            self._gone = True
            self.on_gone()

    def unplug_after_bytes(self, count: int) -> None:
        """Plant: the cable is pulled when ``count`` more bytes of SETUP and data have passed."""
        self._wire.unplug_after = self._wire.bytes_carried + count

    # -- what a host does -------------------------------------------------------------------------

    def enumerate(self) -> str:
        """Do what a host does with a new device; return why it gave up, or nothing."""
        try:
            self._do(self._enumeration(), PATIENCE_SECONDS)
        except UsbFailure as failure:
            why = {Hung: "no answer", Stall: "stalled", Gone: "it left the bus"}
            ignored = f" ({self._otg.ignored})" if self._otg.ignored else ""
            found = why.get(type(failure), str(failure))
            return f"the host gave the device up at {self._stage}: {found}{ignored}"
        self.longest_transfer = 0.0
        return ""

    def control(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data_or_length: bytes | bytearray | int,
    ) -> bytes:
        """Do one control transfer: OUT takes bytes and returns none, IN takes the length wanted."""
        self.transfers += 1
        if self.transfers == self.unplug_at:
            self.drop()
        data = b"" if isinstance(data_or_length, int) else bytes(data_or_length)
        length = data_or_length if isinstance(data_or_length, int) else len(data)
        setup = _SETUP.pack(request_type, request, value, index, length)
        return self._do(self._transfer(self._address, setup, data))

    def reset(self) -> None:
        """Reset the port, as a host does it: address and configuration are given anew."""
        self._do(self._reset_port(), PATIENCE_SECONDS)

    # -- packets, for hosts that do not behave ----------------------------------------------------

    def setup(self, raw: bytes) -> None:
        """Send a SETUP packet and nothing after it."""
        self._do(self._one(Packet(Pid.SETUP, raw, self._address)))

    def out(self, data: bytes) -> None:
        """Send one OUT packet."""
        self._do(self._one(Packet(Pid.OUT, data, self._address)))

    def in_(self) -> bytes:
        """Ask for one IN packet."""
        return self._do(self._one(Packet(Pid.IN, address=self._address)))

    def bus_reset(self) -> None:
        """Reset the bus, and leave the device without an address."""
        self._address = 0
        self._do(self._one(Packet(Pid.RESET)), PATIENCE_SECONDS)

    # -- scripts ----------------------------------------------------------------------------------

    def _do(self, script: Script, patience: float | None = None) -> bytes:
        """Run a script to its end, with the core behind it."""
        with self._runner.turn:
            return self._do_in_turn(script, self.patience if patience is None else patience)

    def _do_in_turn(self, script: Script, patience: float) -> bytes:
        if not self.is_on_bus:
            script.close()
            raise Gone
        began = self.clock.now
        self._wire.begin(script)
        try:
            while self._wire.is_busy and self.clock.now < began + patience:
                self._runner.live_until(began + patience)
        except Gone:
            self.left()
            raise
        finally:
            answered = not self._wire.is_busy
            self._wire.give_up()
        self.longest_transfer = max(self.longest_transfer, self.clock.now - began)
        if not answered:
            raise Hung
        if isinstance(self._wire.failure, Gone):
            self.left()
        if self._wire.failure is not None:
            raise self._wire.failure
        return self._wire.answer

    def _one(self, packet: Packet) -> Script:
        answer = yield packet
        return answer or b""

    def _transfer(self, address: int, setup: bytes, data: bytes = b"") -> Script:
        kind, _, _, _, length = _SETUP.unpack(setup)
        pause = self.timing.request / 2
        yield Packet(Pid.SETUP, setup, address, pause)
        if not kind & 0x80:
            for at in range(0, length, PACKET_BYTES):
                yield Packet(Pid.OUT, data[at : at + PACKET_BYTES], address)
            if (yield Packet(Pid.IN, address=address, seconds=pause)):
                raise Babble("data in the status stage")
            return b""
        answer = b""
        while len(answer) < length:
            packet = yield Packet(Pid.IN, address=address)
            self._wire_time(packet)
            answer += packet
            if len(answer) > length:
                raise Babble(f"{len(answer)} bytes, asked for were {length}")
            if len(packet) < PACKET_BYTES:
                break
        if length:
            yield Packet(Pid.OUT, b"", address, pause)
        elif (yield Packet(Pid.IN, address=address, seconds=pause)):
            raise Babble("data in the status stage")
        return answer

    def _wire_time(self, packet: bytes) -> None:
        self.clock.advance(len(packet) * self.timing.byte, "usb")

    def _reset_port(self) -> Generator[Packet, Any, bytes]:
        self._address = 0
        yield Packet(Pid.RESET)
        yield Packet(Pid.WAIT, seconds=_RECOVERY_SECONDS)
        yield from self._give_address()
        self._stage = "SET_CONFIGURATION"
        yield from self._transfer(
            ADDRESS, _SETUP.pack(0, _SET_CONFIGURATION, self._configuration, 0, 0)
        )
        return b""

    def _give_address(self) -> Generator[Packet, Any, None]:
        self._stage = "SET_ADDRESS"
        yield from self._transfer(0, _SETUP.pack(0, _SET_ADDRESS, ADDRESS, 0, 0))
        yield Packet(Pid.WAIT, seconds=_RECOVERY_SECONDS)
        self._address = ADDRESS

    def _enumeration(self) -> Script:
        yield Packet(Pid.WAIT, seconds=DEBOUNCE_SECONDS)
        yield Packet(Pid.RESET)
        yield Packet(Pid.WAIT, seconds=_RECOVERY_SECONDS)
        yield from self._descriptor(0, 1, PACKET_BYTES, "the first GET_DESCRIPTOR")
        yield Packet(Pid.RESET)
        yield Packet(Pid.WAIT, seconds=_RECOVERY_SECONDS)
        yield from self._give_address()
        device = yield from self._descriptor(ADDRESS, 1, 18, "GET_DESCRIPTOR(device)")
        if len(device) != 18 or device[:2] != b"\x12\x01" or device[7] != PACKET_BYTES:
            raise Babble(f"a device descriptor that cannot be used: {device.hex()}")
        head = yield from self._descriptor(ADDRESS, 2, 9, "GET_DESCRIPTOR(configuration)")
        if len(head) != 9 or head[:2] != b"\x09\x02":
            raise Babble(f"a configuration descriptor that cannot be used: {head.hex()}")
        total = int.from_bytes(head[2:4], "little")
        whole = yield from self._descriptor(ADDRESS, 2, total, "GET_DESCRIPTOR(configuration)")
        if len(whole) != total:
            raise Babble(f"{len(whole)} bytes of configuration, wTotalLength is {total}")
        self._stage, self._configuration = "SET_CONFIGURATION", head[5]
        yield from self._transfer(ADDRESS, _SETUP.pack(0, _SET_CONFIGURATION, head[5], 0, 0))
        self._descriptors = Descriptors(device, whole)
        return b""

    def _descriptor(self, address: int, kind: int, length: int, stage: str) -> Script:
        self._stage = stage
        setup = _SETUP.pack(0x80, _GET_DESCRIPTOR, kind << 8, 0, length)
        return (yield from self._transfer(address, setup))


def not_running() -> PackagerError:
    """Return the error of going on with a board that has nothing to go on with."""
    return PackagerError(
        "virtual board",
        "no program is running that could go on",
        "expected a board that stays in its loader",
        "boot it first",
    )
