"""Finding out that a program is in a loop it can never leave."""

from __future__ import annotations

from collections.abc import Callable

BLOCKS_PER_ANCHOR = 64
"""A loop longer than this many blocks of code is not recognised."""
_REPEATS = 3


class SpinWatch:
    """Takes note of blocks of code; a core that comes back to the same state never leaves."""

    def __init__(self, state: Callable[[], tuple[int, ...]]) -> None:
        self._state = state
        self.fed = False
        """The watchdog was fed inside the loop."""
        self.restart()

    def restart(self) -> None:
        """Forget what was seen."""
        self.found = False
        self._anchor = -1
        self._blocks = 0
        self._seen: tuple[int, ...] = ()
        self._repeats = 0

    def spins(self, address: int) -> bool:
        """Take note of the block at ``address``; True once the same state came back often."""
        self._blocks += 1
        if self._blocks % BLOCKS_PER_ANCHOR == 1:
            self._anchor, self._repeats, self._seen = address, 0, self._state()
        elif address == self._anchor:
            state = self._state()
            self._repeats = self._repeats + 1 if state == self._seen else 0
            self._seen = state
            self.found = self.found or self._repeats >= _REPEATS
        return self.found
