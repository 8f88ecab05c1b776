"""The pins of the chip, by names like ``PC13``: levels from outside, and what the chip drives."""

from __future__ import annotations

import re
from typing import NamedTuple

from packager.errors import PackagerError

_UNSETTLED_READS = 4
"""A pin that was analog until just now reads low so many times: its input has to wake up."""
_NAME = re.compile(r"P([A-K])(1[0-5]|[0-9])")


class PinChange(NamedTuple):
    """The chip began to drive a pin, drove it the other way, or let go of it (``level`` None)."""

    time: float
    """Virtual seconds."""
    name: str
    level: bool | None


class Pins:
    """Levels that something outside drives; a pin that nothing drives follows its pull."""

    def __init__(self) -> None:
        self._levels: dict[tuple[int, int], bool] = {}
        self._driven: dict[tuple[int, int], bool] = {}
        self._analog: dict[int, int] = {}
        self._unsettled: dict[int, tuple[int, int]] = {}
        self.changes: list[PinChange] = []
        """What the chip did to its outputs, in order, since the board was made."""

    def __setitem__(self, name: str, high: bool | None) -> None:
        """Drive a pin, or let go of it with None."""
        key = _pin(name)
        if high is None:
            self._levels.pop(key, None)
        else:
            self._levels[key] = high

    def __getitem__(self, name: str) -> bool | None:
        return self._levels.get(_pin(name))

    def input_word(self, port: int, modes: int, pulls: int, output: int) -> int:
        """Return IDR of a port (0 is A): analog pins and floating ones read as low."""
        word = 0
        for number in range(16):
            mode, pull = modes >> 2 * number & 3, pulls >> 2 * number & 3
            driven = self._levels.get((port, number))
            high = pull == 1 if driven is None else driven
            if mode == 1:
                high = bool(output >> number & 1)
            word |= int(high and mode != 3) << number
        waking, left = self._unsettled.get(port, (0, 0))
        self._unsettled[port] = (waking, left - 1) if left else (0, 0)
        return word & ~waking if left else word

    def note_outputs(self, now: float, port: int, modes: int, output: int) -> None:
        """Take note of MODER and ODR of a port (0 is A)."""
        analog = sum(1 << number for number in range(16) if modes >> 2 * number & 3 == 3)
        waking = self._analog.get(port, 0) & ~analog
        self._analog[port] = analog
        if waking:
            self._unsettled[port] = (waking, _UNSETTLED_READS)
        for number in range(16):
            is_output = modes >> 2 * number & 3 == 1
            level = bool(output >> number & 1) if is_output else None
            key = (port, number)
            if level == self._driven.get(key):
                continue
            self.changes.append(PinChange(now, f"P{chr(ord('A') + port)}{number}", level))
            if level is None:
                del self._driven[key]
            else:
                self._driven[key] = level


def _pin(name: str) -> tuple[int, int]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise PackagerError(f"pin '{name}'", "there is no such pin", "expected one like PC13")
    return ord(found[1]) - ord("A"), int(found[2])
