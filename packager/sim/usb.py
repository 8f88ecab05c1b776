"""What a virtual USB device is to its host: control transfers, and the ways they fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from packager.sim.clock import Clock
from packager.sim.operations import Cut


class UsbFailure(Exception):
    """The transfer did not succeed."""


class Stall(UsbFailure):
    """The device refuses the request (EPIPE on the host)."""


class Gone(UsbFailure):
    """The device is no longer on the bus (ENODEV on the host)."""


class Hung(UsbFailure):
    """The device does not answer any more (a timeout on the host)."""


class Babble(Stall):
    """The device breaks the protocol: it sends more than was asked for, or out of turn."""


@dataclass(frozen=True)
class UsbTiming:
    """Virtual seconds a control transfer takes: 1 KiB is read in 4 to 5 ms."""

    request: float = 0.0005
    byte: float = 4e-6


@dataclass(frozen=True)
class Descriptors:
    """What a host knows of a device once it is enumerated, as it came over the wire."""

    device: bytes
    configuration: bytes
    """The whole configuration, with what follows it."""

    @property
    def ids(self) -> tuple[int, int]:
        """VID and PID."""
        return int.from_bytes(self.device[8:10], "little"), int.from_bytes(
            self.device[10:12], "little"
        )


class UsbDevice(Protocol):
    """A device on the bus: the ROM's, or the one a program on the core makes."""

    clock: Clock
    transfers: int
    """Control transfers so far."""
    unplug_at: int | None
    """Planted: this transfer, counted from 1, finds the cable pulled."""
    power_cut: Cut | None
    """The planned power cut, once it happened."""
    on_gone: Callable[[], None]

    @property
    def is_on_bus(self) -> bool:
        """Tell whether the host still sees the device (it does when the device hangs)."""

    @property
    def descriptors(self) -> Descriptors:
        """What it said when it was enumerated."""

    def control(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data_or_length: bytes | bytearray | int,
    ) -> bytes:
        """Do one control transfer: OUT takes bytes and returns none, IN takes the length wanted."""

    def reset(self) -> None:
        """Reset the port, as a host does it: afterwards the device is as newly plugged in."""

    def drop(self) -> None:
        """Leave the bus: the cable was pulled."""


class Socket(Protocol):
    """Whatever may have a device on the bus: a board."""

    @property
    def device(self) -> UsbDevice | None:
        """The device while it is on the bus."""
