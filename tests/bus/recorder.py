"""What went over a cable, for transcripts."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from packager.sim.clock import Clock
from packager.sim.rom import UsbFailure

Control = Callable[[int, int, int, int, "bytes | int"], bytes]
"""The one method of a device: request type, request, value, index, data or length."""


@dataclass(frozen=True)
class Transfer:
    """One control transfer and how it ended."""

    request_type: int
    request: int
    value: int
    index: int
    length: int
    data: bytes
    """What was sent, or what came back."""
    failed: str = ""
    """``stall``, ``gone`` or ``hung``."""
    began: float = 0.0
    ended: float = 0.0
    """Virtual seconds."""


class Recorder:
    """Keeps the transfers of one device."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.transfers: list[Transfer | None] = []
        """None is a bus reset."""

    def reset(self) -> None:
        """Note a bus reset."""
        self.transfers.append(None)

    def control(self, control: Control, setup: bytes, data: bytes) -> bytes:
        """Pass a transfer on to ``control`` and keep it."""
        kind, request, value, index, length = struct.unpack("<BBHHH", setup)
        incoming = bool(kind & 0x80)
        kept, failed, began = b"" if incoming else data[:length], "", self._clock.now
        try:
            answer = control(kind, request, value, index, length if incoming else kept)
            kept = answer if incoming else kept
            return answer
        except UsbFailure as failure:
            failed = type(failure).__name__.lower()
            raise
        finally:
            times = began, self._clock.now
            self.transfers.append(
                Transfer(kind, request, value, index, length, kept, failed, *times)
            )
