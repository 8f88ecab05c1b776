"""What is connected to the pins of the chip: levels from outside, by names like ``PC13``."""

from __future__ import annotations

import re

from packager.errors import PackagerError

_NAME = re.compile(r"P([A-K])(1[0-5]|[0-9])")


class Pins:
    """Levels that something outside drives; a pin that nothing drives follows its pull."""

    def __init__(self) -> None:
        self._levels: dict[tuple[int, int], bool] = {}

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
        return word


def _pin(name: str) -> tuple[int, int]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise PackagerError(f"pin '{name}'", "there is no such pin", "expected one like PC13")
    return ord(found[1]) - ord("A"), int(found[2])
