"""What the DfuSe client needs from the outside world: control transfers and a clock.

Both are protocols, so that a virtual board is driven by the very same client in virtual time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from packager.errors import DeviceError

Progress = Callable[[str, int, int], None]
"""Called with (phase, bytes done, bytes in all)."""


class ControlPipe(Protocol):
    """Control transfers to one device."""

    def ctrl_transfer(
        self,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data_or_length: bytes | int,
        timeout_ms: int,
    ) -> bytes:
        """Send ``data_or_length`` (bytes), or receive up to that many bytes (int).

        Raises:
            StalledError: the device refused the request.
            GoneError: the device is not there any more.
            DeviceTimeoutError: it did not answer within ``timeout_ms``.
        """
        ...

    def close(self) -> None:
        """Let go of the device; safe to call twice and after it is gone."""
        ...


class Clock(Protocol):
    """The time in which the device lives."""

    @property
    def now(self) -> float:
        """Seconds since some fixed moment."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class WallClock:
    """The time in which real devices live."""

    @property
    def now(self) -> float:
        """Seconds since some fixed moment."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)


class StalledError(DeviceError):
    """The device refused a control request (STALL); its status says why."""


class GoneError(DeviceError):
    """The device left the bus in the middle of something."""


def silent(phase: str, done: int, total: int) -> None:
    """Stand for progress nobody wants to see."""
